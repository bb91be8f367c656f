// A heatmap over its image on a canvas: evidence in viridis, opaque where the evidence is.

// Viridis at 26 even steps from 0 to 1, as in services/pictures/overlays.py (Smith, van der Walt 2015, CC0).
const STEPS = (
  "440154 471063 481e70 472b7a 453882 414487 3c4f8b 375a8c 32648e 2e6e8e 2a788e 26828e 228b8d " +
  "1f958b 1f9e88 22a884 2cb17e 3aba76 4dc36c 62ca5f 7ad151 93d741 aedc30 c9e01f e4e419 fde725"
)
  .split(" ")
  .map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/** The colour of a value in [0, 1]: three numbers from 0 to 255. */
export function colour(value) {
  const place = Math.min(1, Math.max(0, value)) * (STEPS.length - 1);
  const low = Math.min(STEPS.length - 2, Math.floor(place));
  return STEPS[low].map((from, channel) => from + (STEPS[low + 1][channel] - from) * (place - low));
}

/** Draw the scale from 0 to 1 over the whole of a canvas. */
export function drawScale(canvas) {
  const pen = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    pen.fillStyle = `rgb(${colour(x / (canvas.width - 1)).map(Math.round).join(" ")})`;
    pen.fillRect(x, 0, 1, canvas.height);
  }
}

/** Values of a grid (rows of numbers) at every pixel, bilinear between the centres of its cells. */
export function stretched(grid, width, height) {
  const rows = grid.length;
  const columns = grid[0].length;
  const values = new Float32Array(width * height);
  const across = Array.from({ length: width }, (_, x) => between(((x + 0.5) * columns) / width - 0.5, columns));
  for (let y = 0; y < height; y += 1) {
    const [top, bottom, down] = between(((y + 0.5) * rows) / height - 0.5, rows);
    for (let x = 0; x < width; x += 1) {
      const [left, right, share] = across[x];
      const above = grid[top][left] * (1 - share) + grid[top][right] * share;
      const below = grid[bottom][left] * (1 - share) + grid[bottom][right] * share;
      values[y * width + x] = above * (1 - down) + below * down;
    }
  }
  return values;
}

function between(place, cells) {
  const inside = Math.min(cells - 1, Math.max(0, place));
  const low = Math.floor(inside);
  return [low, Math.min(cells - 1, low + 1), inside - low];
}

/** A canvas that holds the heatmap alone, as large as asked for. */
export function layer(grid, width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  const picture = pen.createImageData(width, height);
  stretched(grid, width, height).forEach((value, place) => {
    picture.data.set([...colour(value).map(Math.round), Math.round(Math.min(1, Math.max(0, 1.25 * value)) * 255)], place * 4);
  });
  pen.putImageData(picture, 0, 0);
  return canvas;
}

/** Load an address as an image that can be drawn. */
export async function picture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

/** The border of a region: a path along the edges between relevant and irrelevant pixels.
 * `marked(x, y)` says whether a pixel of the [columns, rows] grid is relevant. */
export function outline(marked, columns, rows) {
  const path = new Path2D();
  const inside = (x, y) => x >= 0 && y >= 0 && x < columns && y < rows && marked(x, y);
  for (let y = 0; y <= rows; y += 1) {
    for (let x = 0; x <= columns; x += 1) {
      if (inside(x, y) !== inside(x - 1, y)) {
        path.moveTo(x, y);
        path.lineTo(x, y + 1);
      }
      if (inside(x, y) !== inside(x, y - 1)) {
        path.moveTo(x, y);
        path.lineTo(x + 1, y);
      }
    }
  }
  return path;
}

const WHOLE = { scale: 1, x: 0, y: 0 };

/** Draw image, heatmap and region.
 * @param {HTMLCanvasElement} canvas
 * @param {{image: CanvasImageSource, heat: ?HTMLCanvasElement, opacity: number, border: ?{path: Path2D, columns: number, rows: number}, filter: ?string, view: ?{scale: number, x: number, y: number}}} scene */
export function compose(canvas, { image, heat, opacity, border, filter, view = WHOLE }) {
  const pen = canvas.getContext("2d");
  pen.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
  pen.globalAlpha = 1;
  pen.imageSmoothingEnabled = (image.width || image.videoWidth) > canvas.width * view.scale;
  pen.filter = filter || "none";
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  pen.filter = "none";
  if (heat && opacity > 0) {
    pen.globalAlpha = opacity;
    pen.drawImage(heat, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 1;
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  if (border) strokeBorder(pen, canvas, border, view);
}

function strokeBorder(pen, canvas, { path, columns, rows }, { scale: zoom, x, y }) {
  const scale = new DOMMatrix([(zoom * canvas.width) / columns, 0, 0, (zoom * canvas.height) / rows, x, y]);
  const large = new Path2D();
  large.addPath(path, scale);
  for (const [style, width] of [["rgb(0 0 0 / 65%)", 4], ["#fff", 1.75]]) {
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.stroke(large);
  }
}

/** Call `show(hidden)` while a key is held, wherever the focus is, but not while somebody writes. */
export function whileHeld(key, show) {
  const writes = (event) => event.target.matches?.("textarea, input:not([type=range], [type=checkbox], [type=radio], [type=file])");
  const held = (hidden) => (event) => {
    if (event.key.toLowerCase() === key && !event.ctrlKey && !event.metaKey && !event.altKey && !writes(event)) show(hidden);
  };
  document.addEventListener("keydown", held(true));
  document.addEventListener("keyup", held(false));
}
