// The page: it takes the strokes, and shows the results of the network.

const model = readModel();
const find = (id) => document.getElementById(id);
const strokes = []; // each a list of points [x, y], 0 to 1 on the pad

// ---- Colours

// Tables of 255 colours, as numbers of 32 bits: from negative over zero to positive numbers, and from paper to ink.
let palette, inkPalette;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => {
    const digits = style.getPropertyValue(name).trim(); // #rrggbb
    return [1, 3, 5].map((start) => parseInt(digits.slice(start, start + 2), 16));
  };
  const mix = (to, share) => colour("--zero").map((from, i) => Math.round(from + (to[i] - from) * share));
  const table = (low, high) => {
    const colours = Array.from({ length: 255 }, (_, i) => mix(i < 127 ? low : high, Math.abs(i - 127) / 127));
    return new Uint32Array(Uint8ClampedArray.from(colours.flatMap((each) => [...each, 255])).buffer);
  };
  palette = table(colour("--negative"), colour("--positive"));
  inkPalette = table(colour("--ink"), colour("--ink"));
}

// ---- Pictures of numbers

// Draw numbers (height, width, tiles) as pictures side by side, `columns` in a row, each number `zoom` pixels wide.
function drawTiles(canvas, values, [height, width, tiles], columns, zoom, colours) {
  const gap = tiles > 1 ? 1 : 0;
  canvas.width = columns * (width * zoom + gap) - gap;
  canvas.height = Math.ceil(tiles / columns) * (height * zoom + gap) - gap;
  const picture = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const factor = 127 / (values.reduce((size, value) => Math.max(size, Math.abs(value)), 0) || 1);
  for (let tile = 0; tile < tiles; tile++) {
    const left = (tile % columns) * (width * zoom + gap);
    const top = Math.floor(tile / columns) * (height * zoom + gap);
    for (let y = 0; y < height; y++) {
      const start = (top + y * zoom) * canvas.width + left;
      for (let x = 0; x < width; x++) {
        const colour = colours[127 + Math.round(factor * values[(y * width + x) * tiles + tile])];
        for (let i = 0; i < zoom; i++) pixels[start + x * zoom + i] = colour;
      }
      // The other lines of these numbers are the same.
      for (let i = 1; i < zoom; i++) pixels.copyWithin(start + i * canvas.width, start, start + width * zoom);
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// ---- The pad

const pad = find("pad");
const pen = { at: [0.5, 0.5], isDown: false, isShown: false }; // of the keyboard

function drawPad() {
  const size = Math.round(pad.clientWidth * devicePixelRatio);
  if (pad.width !== size) pad.width = pad.height = size;
  const context = pad.getContext("2d");
  context.clearRect(0, 0, size, size);
  context.strokeStyle = context.fillStyle = getComputedStyle(pad).getPropertyValue("--ink");
  context.lineWidth = size / 14;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * size, y * size); // a dot is a line to itself
    context.stroke();
  }
  if (pen.isShown) {
    const [x, y] = pen.at;
    context.strokeStyle = getComputedStyle(pad).getPropertyValue("--accent");
    context.lineWidth = size / 100;
    context.beginPath();
    context.arc(x * size, y * size, size / 20, 0, 2 * Math.PI);
    context.stroke();
  }
}

let pointer = null; // the one that draws: a second finger is ignored

function pointOf(event) {
  const box = pad.getBoundingClientRect();
  const share = (place, start, size) => Math.min(Math.max((place - start) / size, 0), 1);
  return [share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)];
}

pad.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button !== 0) return;
  pointer = event.pointerId;
  pad.setPointerCapture(pointer);
  pen.isShown = pen.isDown = false;
  strokes.push([pointOf(event)]);
  updateSoon();
});

pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  strokes[strokes.length - 1].push(...(events.length ? events : [event]).map(pointOf));
  updateSoon();
});

for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    announceSoon();
  });
}

// The pen of the keyboard: arrow keys move it, the space bar puts it down and lifts it.
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

pad.addEventListener("keydown", (event) => {
  if (event.key === " ") {
    pen.isDown = !pen.isDown;
    if (pen.isDown) strokes.push([pen.at]);
    if (pen.isDown) announce("Pen down");
    else announceSoon();
  } else if (DIRECTIONS[event.key]) {
    const step = event.shiftKey ? 0.01 : 0.05;
    pen.at = pen.at.map((place, i) => Math.min(Math.max(place + step * DIRECTIONS[event.key][i], 0), 1));
    if (pen.isDown) strokes[strokes.length - 1].push(pen.at);
  } else {
    return;
  }
  event.preventDefault(); // the page would scroll
  pen.isShown = true;
  updateSoon();
});

pad.addEventListener("blur", () => {
  pen.isShown = pen.isDown = false;
  updateSoon();
});

function undo() {
  if (pointer !== null) return;
  pen.isDown = false;
  strokes.pop();
  announceSoon();
}

function clear() {
  if (pointer !== null) return;
  pen.isDown = false;
  strokes.length = 0;
  announceSoon();
}

find("undo").addEventListener("click", undo);
find("clear").addEventListener("click", clear);
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") undo();
  else if (event.key === "Delete" || event.key === "Backspace") clear(); // Delete on a Mac's keyboard is Backspace
  else if (event.key === "Escape") hideInspector();
  else return;
  event.preventDefault();
});

// ---- The answer

const bars = model.classes.map((name) => {
  const item = document.createElement("li");
  item.innerHTML = '<span></span><div class="track"><div class="bar"></div></div><span class="percent"></span>';
  item.firstChild.textContent = name;
  find("bars").append(item);
  return item;
});

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Softmax, and one score, choose one class; several sigmoids choose each class that is more likely than not.
function chosenClasses(probabilities) {
  if (!model.exclusive) return [...probabilities.keys()].filter((i) => probabilities[i] > 0.5);
  return [probabilities.indexOf(Math.max(...probabilities))];
}

function showAnswer(probabilities) {
  const chosen = probabilities ? chosenClasses(probabilities) : [];
  const names = chosen.map((i) => `${model.classes[i]} (${percent(probabilities[i])})`).join(", ");
  find("answer").textContent = probabilities ? names || "none of these" : "Draw something";
  bars.forEach((bar, i) => {
    bar.classList.toggle("chosen", chosen.includes(i));
    bar.querySelector(".bar").style.width = `${100 * (probabilities ? probabilities[i] : 0)}%`;
    bar.lastChild.textContent = probabilities ? percent(probabilities[i]) : "";
  });
}

// For screen readers: at the end of a stroke, not at every movement.
function announce(text) {
  find("status").textContent = text;
}

function announceSoon() {
  updateSoon(() => announce(strokes.length ? `It says ${find("answer").textContent}` : "The pad is empty"));
}

// ---- The layers

// Layers that do more than rearrange or scale the numbers of another layer; also layers inside blocks.
function shownLayers(layers) {
  return layers.flatMap((layer) => [
    ...shownLayers([...(layer.layers ?? []), ...(layer.projection ?? []), ...(layer.branches ?? []).flat()]),
    ...(["Rescale", "Reshape", "Sequential", "Concatenate"].includes(layer.kind) ? [] : [layer]),
  ]);
}

// The first layer with weights, if its weights are an image: those of a unit for each pixel, or a kernel of a gray image.
function weightsOfImage(layer) {
  const { weight } = layer;
  if (!weight) return null;
  if (layer.kind === "Dense" && weight.shape[0] === sizeOf(model.image)) {
    return { values: weight, shape: [...model.image, weight.shape[1]] };
  }
  if (layer.kind === "Conv2D" && weight.shape[2] === 1 && layer.groups === 1) {
    return { values: weight, shape: [weight.shape[0], weight.shape[1], weight.shape[3]] };
  }
  return null;
}

function makePanels() {
  let weights = null;
  let seen = 0; // layers with weights
  return shownLayers(model.layers).map((layer) => {
    const isImage = layer.shape.length === 3;
    // (height, width, tiles): an image for each channel, a square for each unit; rows of features are one image.
    const shape = isImage ? layer.shape : layer.shape.length === 1 ? [1, 1, layer.shape[0]] : rowsOf(layer.shape);
    if (layer.weight) weights = ++seen === 1 ? weightsOfImage(layer) : null;
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas");
    const what = isImage ? `${shape[2]} channels of ${shape[0]} x ${shape[1]}` : `${layer.shape.join(" x ")} units`;
    caption.textContent = `${layer.name} `;
    caption.append(Object.assign(document.createElement("span"), { textContent: what }));
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `${layer.name}, ${what}; the arrow keys go from one to the next`);
    figure.className = isImage ? "wide" : "";
    figure.append(caption, canvas);
    find("layers").append(figure);
    const panel = { layer, shape, canvas, figure, zoom: 1, columns: 1, selected: 0 };
    panel.weights = weights && weights.shape[2] === shape[2] ? weights : null;
    listen(panel);
    return panel;
  });
}

const rowsOf = (shape) => [sizeOf(shape.slice(0, -1)), last(shape), 1];

// Images of about 56 pixels, as many in a row as there is room for; and 32 units in a row, which fill the room.
function arrange(panel) {
  const [height, width, tiles] = panel.shape;
  const room = panel.figure.clientWidth;
  const units = Math.max(Math.floor(room / 32) - 1, 3);
  const isUnits = height * width === 1;
  panel.zoom = isUnits ? units : Math.max(Math.round(56 / Math.max(height, width)), 1);
  const most = isUnits ? 32 : Math.max(Math.floor(room / (width * panel.zoom + 1)), 1);
  panel.columns = Math.min(tiles, most);
}

// ---- One tile of a layer: its number and, in the first layer, its weights

const inspector = find("inspector");

function listen(panel) {
  const { canvas } = panel;
  const inspectAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const [rows, columns] = [Math.ceil(panel.shape[2] / panel.columns), panel.columns];
    const column = Math.min(Math.floor(((event.clientX - box.left) / box.width) * columns), columns - 1);
    const row = Math.min(Math.floor(((event.clientY - box.top) / box.height) * rows), rows - 1);
    const tile = row * columns + column;
    if (tile >= 0 && tile < panel.shape[2]) inspect(panel, tile);
    else hideInspector();
  };
  canvas.addEventListener("pointermove", inspectAt);
  canvas.addEventListener("pointerdown", inspectAt); // a finger taps
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hideInspector());
  canvas.addEventListener("blur", hideInspector);
  canvas.addEventListener("keydown", (event) => {
    if (!DIRECTIONS[event.key]) return;
    const [right, down] = DIRECTIONS[event.key];
    const tile = inspector.hidden ? panel.selected : panel.selected + right + down * panel.columns;
    inspect(panel, Math.min(Math.max(tile, 0), panel.shape[2] - 1));
    announce(inspector.lastElementChild.textContent);
    event.preventDefault();
  });
}

let inspected = null;

function inspect(panel, tile) {
  panel.selected = tile;
  inspected = panel;
  const [height, width, tiles] = panel.shape;
  const values = panel.values.filter((_, i) => i % tiles === tile);
  const number = (value) => value.toPrecision(3);
  const text =
    height * width === 1
      ? `unit ${tile}: ${number(values[0])}`
      : `channel ${tile}: ${number(least(values))} to ${number(-least(values.map((value) => -value)))}`;
  const picture = inspector.firstElementChild;
  picture.hidden = !panel.weights;
  if (panel.weights) {
    const { values: weights, shape } = panel.weights;
    const own = weights.filter((_, i) => i % shape[2] === tile);
    drawTiles(picture, own, [shape[0], shape[1], 1], 1, 1, palette);
  }
  inspector.lastElementChild.textContent = panel.weights ? `${text}, and its weights` : text;
  inspector.hidden = false;
  // A frame around the tile; and the text below it, or above it where there is no room, within the window.
  const box = panel.canvas.getBoundingClientRect();
  const across = box.width / panel.columns;
  const down = box.height / Math.ceil(tiles / panel.columns);
  const left = box.left + (tile % panel.columns) * across;
  const top = box.top + Math.floor(tile / panel.columns) * down;
  const marker = find("marker");
  marker.hidden = false;
  Object.assign(marker.style, { left: `${left}px`, top: `${top}px`, width: `${across}px`, height: `${down}px` });
  const { offsetWidth, offsetHeight } = inspector;
  const x = Math.min(left + across + 8, innerWidth - offsetWidth - 8);
  const y = top + down + 8 + offsetHeight < innerHeight ? top + down + 8 : top - offsetHeight - 8;
  Object.assign(inspector.style, { left: `${Math.max(x, 8)}px`, top: `${Math.max(y, 8)}px` });
}

function hideInspector() {
  inspector.hidden = find("marker").hidden = true;
  inspected = null;
}

// ---- Updates

const panels = makePanels();

function update() {
  const isEmpty = strokes.length === 0;
  const image = imageOf(strokes, model.image);
  const { scores, outputs } = compute(model, image);
  drawPad();
  drawTiles(find("image"), image, [...model.image, 1], 1, 1, inkPalette);
  showAnswer(isEmpty ? null : probabilitiesOf(model, scores));
  for (const panel of panels) {
    // Without a drawing, show nothing: the prediction for empty paper would look like an answer.
    panel.values = isEmpty ? new Float32Array(sizeOf(panel.layer.shape)) : outputs.get(panel.layer.name);
    drawTiles(panel.canvas, panel.values, panel.shape, panel.columns, panel.zoom, palette);
  }
  if (inspected) inspect(inspected, inspected.selected);
  // A button that is pressed by the keyboard and then disabled would lose the focus: the pad is next to be used.
  if (isEmpty && document.activeElement?.closest(".buttons")) pad.focus({ preventScroll: true });
  find("undo").disabled = find("clear").disabled = isEmpty;
}

// At the next frame, once for all that has happened since the last one; and then what else there is to do.
let isWaiting = false;
const afterwards = [];

function updateSoon(then) {
  if (then) afterwards.push(then);
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    update();
    for (const work of afterwards.splice(0)) work();
  });
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  find("theme").textContent = theme === "dark" ? "Light mode" : "Dark mode";
  readColours();
  updateSoon();
}

function resize() {
  panels.forEach(arrange);
  hideInspector();
  updateSoon();
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
prefersDark.addEventListener("change", () => showTheme(prefersDark.matches ? "dark" : "light"));
find("theme").addEventListener("click", () => {
  showTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
addEventListener("resize", resize);
addEventListener("scroll", hideInspector);
find("size").textContent = `${model.image.join(" x ")} pixels`;
find("hint").textContent = panels.some((panel) => panel.weights)
  ? "Point at a square of the first layer, or tap it, to see its weights; or go there by Tab and arrow keys."
  : "";
showTheme(prefersDark.matches ? "dark" : "light");
resize();
