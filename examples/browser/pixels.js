// From an image to a model's input, with Pillow's arithmetic.

/** Resize, crop and normalise an ImageData as the model's images were in training: (3, height, width). */
export function preprocess({ data, width, height }, { size, mode, resize_size, interpolation, mean, std }) {
  if (!FILTERS[interpolation]) throw new Error(`this page does not resize with the filter ${interpolation}`);
  const shorter = Math.min(width, height), [cropHeight, cropWidth] = size;
  if (mode === "crop" && Math.max(width, height) > 200 * shorter) throw new Error("the image is too narrow");
  const scaled = (side) => Math.floor((resize_size * side) / shorter);
  const [newWidth, newHeight] = mode === "squash" ? [cropWidth, cropHeight] : [scaled(width), scaled(height)];
  // Pillow resizes rows, then columns, and rounds to bytes after each.
  const across = resizeLines(data, width, height, newWidth, FILTERS[interpolation], 4, 4 * width, 4 * newWidth);
  const resized = resizeLines(across, height, newWidth, newHeight, FILTERS[interpolation], 4 * newWidth, 4, 4);
  const left = offset(newWidth, cropWidth), top = offset(newHeight, cropHeight);
  const pixels = new Float32Array(3 * cropHeight * cropWidth);
  for (let y = 0, i = 0; y < cropHeight; y++) {
    for (let x = 0; x < cropWidth; x++, i++) {
      const [column, row] = [x + left, y + top];
      const inside = column >= 0 && column < newWidth && row >= 0 && row < newHeight; // beside it is black
      for (let c = 0; c < 3; c++) {
        const value = inside ? resized[4 * (row * newWidth + column) + c] / 255 : 0;
        pixels[c * cropHeight * cropWidth + i] = (value - mean[c]) / std[c];
      }
    }
  }
  return pixels;
}

/** Where a central crop of one side starts; halves are rounded to even, as Python does. */
function offset(length, crop) {
  if (length < crop) return -Math.floor((crop - length) / 2);
  const half = (length - crop) / 2;
  return half % 1 === 0.5 ? 2 * Math.round(half / 2) : Math.round(half);
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
/** Pillow's filters: how far they reach, and their weights. */
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0)],
  bicubic: [2, (x) => {
    const a = -0.5, y = Math.abs(x);
    if (y < 1) return ((a + 2) * y - (a + 3)) * y * y + 1;
    return y < 2 ? (((y - 5) * y + 8) * y - 4) * a : 0;
  }],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

/** Resize each of `count` lines of RGBA bytes from `length` to `newLength` pixels. Strides are between a line's pixels,
 * and between lines before and after. */
function resizeLines(data, length, count, newLength, [reach, filter], stride, lineStride, newLineStride) {
  const scale = length / newLength, wide = Math.max(scale, 1);
  const resized = new Uint8ClampedArray(4 * newLength * count);
  for (let i = 0; i < newLength; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach * wide + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => filter((first + k - centre + 0.5) / wide));
    const total = weights.reduce((a, b) => a + b);
    for (let line = 0; line < count; line++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        weights.forEach((weight, k) => { sum += weight * data[line * lineStride + (first + k) * stride + c]; });
        resized[line * newLineStride + i * stride + c] = Math.floor(sum / total + 0.5); // clamped by the array
      }
    }
  }
  return resized;
}
