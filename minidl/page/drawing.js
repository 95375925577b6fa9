// The drawing: strokes become an image like those of MNIST's makers. The drawing is scaled to fit a box of 20 x 20
// pixels, and keeps its proportions; then the image is moved, by whole pixels, until the center of mass of its ink is
// in the middle of 28 x 28. Images of another size have a box of the same share.
//
// A stroke is a list of points [x, y] in the units of the pad, 0 to 1. The image is computed from the points, not read
// from the pad's canvas: some browsers put noise into what pages read, and the pen is as thick in the image for a small
// drawing as for a large one.

const PEN = 2.6; // thickness of a line in pixels of 28 x 28, about that of MNIST's digits
const SMALLEST = 0.05; // a drawing smaller than this share of the pad, such as a dot, is not enlarged further

function imageOf(strokes, [height, width]) {
  const image = new Float32Array(height * width);
  const points = strokes.flat();
  if (points.length === 0) return image;
  const pixels = Math.min(height, width) / 28;
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [least(xs), -least(xs.map((x) => -x)), least(ys), -least(ys.map((y) => -y))];
  // A line is a pixel wider than the pen, since it ends in gray.
  const scale = (20 * pixels - PEN * pixels - 1) / Math.max(right - left, bottom - top, SMALLEST);
  const toImage = ([x, y]) => [
    width / 2 + (x - (left + right) / 2) * scale,
    height / 2 + (y - (top + bottom) / 2) * scale,
  ];
  for (const stroke of strokes) {
    const line = stroke.map(toImage);
    for (let i = 0; i < line.length; i++) {
      drawLine(image, height, width, line[Math.max(i - 1, 0)], line[i], (PEN * pixels) / 2);
    }
  }
  return centered(image, height, width);
}

const least = (values) => values.reduce((smaller, value) => Math.min(smaller, value));

// Draw a line with round ends. A pixel is darker the further its middle lies within the line: 1 inside, 0 outside,
// and a number between them at the edge.
function drawLine(image, height, width, [x0, y0], [x1, y1], radius) {
  const reach = radius + 0.5;
  const [dx, dy] = [x1 - x0, y1 - y0];
  const squared = dx * dx + dy * dy || 1; // a dot has no length
  const firstRow = Math.max(Math.floor(Math.min(y0, y1) - reach), 0);
  const lastRow = Math.min(Math.ceil(Math.max(y0, y1) + reach), height - 1);
  const firstColumn = Math.max(Math.floor(Math.min(x0, x1) - reach), 0);
  const lastColumn = Math.min(Math.ceil(Math.max(x0, x1) + reach), width - 1);
  for (let row = firstRow; row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const [x, y] = [column + 0.5, row + 0.5];
      const along = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / squared, 0), 1);
      const distance = Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
      const ink = Math.min(Math.max(reach - distance, 0), 1);
      image[row * width + column] = Math.max(image[row * width + column], ink);
    }
  }
}

// Move an image by whole pixels, so that the center of mass of its ink is in the middle.
function centered(image, height, width) {
  let [mass, xMass, yMass] = [0, 0, 0];
  image.forEach((ink, i) => {
    mass += ink;
    xMass += ink * ((i % width) + 0.5);
    yMass += ink * (Math.floor(i / width) + 0.5);
  });
  const right = Math.round(width / 2 - xMass / mass);
  const down = Math.round(height / 2 - yMass / mass);
  const moved = new Float32Array(image.length);
  for (let row = Math.max(down, 0); row < Math.min(height + down, height); row++) {
    for (let column = Math.max(right, 0); column < Math.min(width + right, width); column++) {
      moved[row * width + column] = image[(row - down) * width + column - right];
    }
  }
  return moved;
}
