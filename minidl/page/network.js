"use strict";
// The network: what is stored in this page, read into arrays, and the forward pass of each kind of layer.
//
// A sample is a Float32Array with a shape, row by row: [units], or [height, width, channels]. The functions in `kinds`
// take a layer, the values of its input and their shape, and return the values of its output, of shape layer.shape.

// ---- Reading

// Numbers of 16 bits: a sign, 5 bits of exponent, 10 of fraction.
function fromFloat16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// An array as Python described it: where it begins, and of which type it is.
function readArray(bytes, array) {
  const size = sizeOf(array.shape);
  const part = (start, length) => bytes.slice(start, start + length).buffer;
  let values;
  if (array.type === "float32") {
    values = new Float32Array(part(array.start, 4 * size));
  } else if (array.type === "float16") {
    values = Float32Array.from(new Uint16Array(part(array.start, 2 * size)), fromFloat16);
  } else {
    const units = array.shape[array.shape.length - 1];
    const scales = new Float32Array(part(array.scales, 4 * units));
    values = Float32Array.from(new Int8Array(part(array.start, size)), (level, i) => level * scales[i % units]);
  }
  values.shape = array.shape;
  return values;
}

// The model of this page. Each description of an array in it becomes the array.
function readModel() {
  const bytes = Uint8Array.from(atob(document.getElementById("weights").textContent), (sign) => sign.charCodeAt(0));
  return JSON.parse(document.getElementById("model").textContent, (_, value) =>
    value !== null && value.start !== undefined ? readArray(bytes, value) : value,
  );
}

// ---- Layers

const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);
const last = (shape) => shape[shape.length - 1];
const each = (formula) => (layer, x) => x.map((value) => formula(value, layer));
const logistic = (x) => 1 / (1 + Math.exp(-x));

// The probability that a standard normal number is below x.
// Source: Press et al., Numerical Recipes, section 6.2.2 (erfc); the error is below 1.2e-7 of the value.
function normalBelow(x) {
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  const terms = [
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368,
    -1.26551223,
  ];
  const tail = 0.5 * t * Math.exp(terms.reduce((sum, term) => sum * t + term, 0) - z * z);
  return x < 0 ? tail : 1 - tail;
}

// Rows of the last axis, each replaced by what a function writes into it.
function eachRow(x, features, write) {
  const y = x.slice();
  for (let start = 0; start < y.length; start += features) write(y.subarray(start, start + features));
  return y;
}

function softmaxInPlace(row) {
  const largest = Math.max(...row);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - largest);
  for (let i = 0; i < row.length; i++) row[i] /= sum;
}

// y = scale x + shift, with a scale and a shift for each entry of the last axis.
function scaleAndShift(row, layer) {
  for (let i = 0; i < row.length; i++) row[i] = row[i] * layer.scale[i] + layer.shift[i];
}

// An output that begins with the bias of each unit or filter.
function withBias(layer) {
  const y = new Float32Array(sizeOf(layer.shape));
  if (layer.bias) for (let start = 0; start < y.length; start += layer.bias.length) y.set(layer.bias, start);
  return y;
}

// Call visit(place, pixel, entry) for each place of a window on an image and each entry of it that lies within the
// image: three positions, each a row times the width plus a column.
function slideWindow(layer, [height, width], [rows, columns], visit) {
  const [tall, wide] = layer.size;
  const [[top], [left]] = layer.margins;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      for (let i = 0; i < tall; i++) {
        const y = row * layer.strides[0] + i * layer.dilation[0] - top;
        if (y < 0 || y >= height) continue;
        for (let j = 0; j < wide; j++) {
          const x = column * layer.strides[1] + j * layer.dilation[1] - left;
          if (x >= 0 && x < width) visit(row * columns + column, y * width + x, i * wide + j);
        }
      }
    }
  }
}

function averageOfWindows(layer, x, shape) {
  const channels = shape[2];
  const y = new Float32Array(sizeOf(layer.shape));
  const counts = new Float32Array(layer.shape[0] * layer.shape[1]);
  slideWindow(layer, shape, layer.shape, (place, pixel) => {
    counts[place]++;
    for (let c = 0; c < channels; c++) y[place * channels + c] += x[pixel * channels + c];
  });
  return y.map((sum, i) => sum / counts[Math.floor(i / channels)]);
}

function maximumOfWindows(layer, x, shape) {
  const channels = shape[2];
  const y = new Float32Array(sizeOf(layer.shape)).fill(-Infinity);
  slideWindow(layer, shape, layer.shape, (place, pixel) => {
    for (let c = 0; c < channels; c++) {
      y[place * channels + c] = Math.max(y[place * channels + c], x[pixel * channels + c]);
    }
  });
  return y;
}

// One window that covers the whole image.
const wholeImage = (layer, shape) => ({
  size: shape,
  strides: [1, 1],
  dilation: [1, 1],
  margins: [[0], [0]],
  shape: [1, 1, shape[2]],
});

const kinds = {
  Rescale: each((x, { scale, offset }) => x * scale + offset),
  Reshape: (layer, x) => x,

  // y = x W + b; an input of several axes is one of many rows.
  Dense(layer, x) {
    const { weight } = layer;
    const [inputs, units] = weight.shape;
    const y = withBias(layer);
    for (let i = 0; i < x.length; i++) {
      if (x[i] === 0) continue; // most pixels are 0, and half of the outputs of ReLU
      const from = (i % inputs) * units;
      const to = Math.floor(i / inputs) * units;
      for (let unit = 0; unit < units; unit++) y[to + unit] += x[i] * weight[from + unit];
    }
    return y;
  },

  // The weight is (height, width, channels of a group, filters); the first filters see the first channels, and so on.
  Conv2D(layer, x, shape) {
    const { weight, groups } = layer;
    const channels = weight.shape[2];
    const filters = weight.shape[3];
    const perGroup = filters / groups;
    const y = withBias(layer);
    slideWindow(layer, shape, layer.shape, (place, pixel, entry) => {
      for (let channel = 0; channel < shape[2]; channel++) {
        const value = x[pixel * shape[2] + channel];
        if (value === 0) continue;
        const group = Math.floor(channel / channels);
        const from = (entry * channels + (channel % channels)) * filters + group * perGroup;
        const to = place * filters + group * perGroup;
        for (let filter = 0; filter < perGroup; filter++) y[to + filter] += value * weight[from + filter];
      }
    });
    return y;
  },

  // The window slides over the output: each input pixel adds its product with the filters to what it covers there.
  Conv2DTranspose(layer, x, shape) {
    const { weight } = layer;
    const channels = weight.shape[2];
    const filters = weight.shape[3];
    const y = withBias(layer);
    slideWindow(layer, layer.shape, shape, (place, pixel, entry) => {
      for (let channel = 0; channel < channels; channel++) {
        const value = x[place * channels + channel];
        const from = (entry * channels + channel) * filters;
        for (let filter = 0; filter < filters; filter++) y[pixel * filters + filter] += value * weight[from + filter];
      }
    });
    return y;
  },

  MaxPool2D: maximumOfWindows,
  AveragePool2D: averageOfWindows,
  GlobalMaxPool2D: (layer, x, shape) => maximumOfWindows(wholeImage(layer, shape), x, shape),
  GlobalAveragePool2D: (layer, x, shape) => averageOfWindows(wholeImage(layer, shape), x, shape),

  // Windows of one pixel; those in the margins see nothing.
  ZeroPad2D(layer, x, shape) {
    const channels = shape[2];
    const y = new Float32Array(sizeOf(layer.shape));
    slideWindow(layer, shape, layer.shape, (place, pixel) => {
      y.set(x.subarray(pixel * channels, (pixel + 1) * channels), place * channels);
    });
    return y;
  },

  UpSample2D(layer, x, [, width, channels]) {
    const [rows, columns] = layer.shape;
    const y = new Float32Array(sizeOf(layer.shape));
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const pixel = Math.floor(row / layer.size[0]) * width + Math.floor(column / layer.size[1]);
        y.set(x.subarray(pixel * channels, (pixel + 1) * channels), (row * columns + column) * channels);
      }
    }
    return y;
  },

  // Running mean and variance are in scale and shift already.
  BatchNorm: (layer, x) => eachRow(x, layer.scale.length, (row) => scaleAndShift(row, layer)),

  LayerNorm: (layer, x) =>
    eachRow(x, layer.scale.length, (row) => {
      const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
      const deviation = Math.sqrt(variance + layer.epsilon);
      for (let i = 0; i < row.length; i++) row[i] = (row[i] - mean) / deviation;
      scaleAndShift(row, layer);
    }),

  ReLU: each((x) => Math.max(x, 0)),
  LeakyReLU: each((x, { slope }) => (x > 0 ? x : slope * x)),
  PReLU: (layer, x) => x.map((value, i) => (value > 0 ? value : layer.slope[i % layer.slope.length] * value)),
  ELU: each((x, { alpha, scale }) => scale * (x > 0 ? x : alpha * Math.expm1(x))),
  Sigmoid: each(logistic),
  Tanh: each(Math.tanh),
  Softmax: (layer, x, shape) => eachRow(x, last(shape), softmaxInPlace),
  SiLU: each((x) => x * logistic(x)),
  Softplus: each((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  GELU: each((x, { approximate }) =>
    approximate
      ? x * logistic(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))
      : x * normalBelow(x),
  ),

  // y = F(x) + P(x), where P without layers is the identity.
  Residual(layer, x, shape, outputs) {
    const shortcut = runLayers(layer.projection, x, shape, outputs);
    return runLayers(layer.layers, x, shape, outputs).map((value, i) => value + shortcut[i]);
  },

  Sequential: (layer, x, shape, outputs) => runLayers(layer.layers, x, shape, outputs),

  // All axes after the one along which they are joined lie side by side: one piece of each output in turn.
  Concatenate(layer, x, shape, outputs) {
    const axis = layer.axis < 0 ? layer.axis + layer.shape.length : layer.axis;
    const pieces = sizeOf(layer.shape.slice(0, axis));
    const y = new Float32Array(sizeOf(layer.shape));
    let start = 0;
    for (const branch of layer.branches) {
      const part = runLayers(branch, x, shape, outputs);
      const length = part.length / pieces;
      for (let i = 0; i < pieces; i++) {
        y.set(part.subarray(i * length, (i + 1) * length), (i * y.length) / pieces + start);
      }
      start += length;
    }
    return y;
  },
};

// Run layers one after the other, and record the output of each by its name.
function runLayers(layers, x, shape, outputs) {
  for (const layer of layers) {
    x = kinds[layer.kind](layer, x, shape, outputs);
    shape = layer.shape;
    outputs.set(layer.name, x);
  }
  return x;
}

// ---- The whole network

// The results for an image of pixels from 0 to 1: the scores, and the outputs of all layers by name.
function compute(model, pixels) {
  const outputs = new Map();
  const x = Float32Array.from(pixels, (value) => value * model.ink);
  return { scores: runLayers(model.layers, x, model.input, outputs), outputs };
}

// The probability of each class. If there is one score, it belongs to the second class.
function probabilitiesOf(model, scores) {
  if (model.activation === "softmax") return eachRow(scores, scores.length, softmaxInPlace);
  const each = scores.map(logistic);
  return each.length === 1 ? Float32Array.of(1 - each[0], each[0]) : each;
}
