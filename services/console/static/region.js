// A region that is being drawn: one byte per pixel of the image, with undo and redo.
import { stretched } from "./heat.js";

const STEPS = 50;

export class Region {
  constructor(width, height) {
    Object.assign(this, { width, height, marks: new Uint8Array(width * height), past: [], future: [] });
  }

  get empty() {
    return !this.marks.some(Boolean);
  }

  /** Remember the marks as they are, before a change that can be undone as a whole. */
  begin() {
    this.past.push(this.marks.slice());
    if (this.past.length > STEPS) this.past.shift();
    this.future = [];
  }

  undo() {
    if (!this.past.length) return;
    this.future.push(this.marks);
    this.marks = this.past.pop();
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.marks);
    this.marks = this.future.pop();
  }

  /** Take a grid of shares as the region: where it is at least the threshold, smoothly between its cells. */
  take(grid, threshold) {
    this.begin();
    stretched(grid, this.width, this.height).forEach((value, place) => {
      this.marks[place] = value >= threshold ? 1 : 0;
    });
  }

  /** Mark or clear the pixels whose centre lies inside a polygon (even-odd), corners in pixels. */
  polygon(corners, value) {
    for (let y = 0; y < this.height; y += 1) {
      const crossed = [];
      corners.forEach((from, number) => {
        const to = corners[(number + 1) % corners.length];
        if (from.y > y + 0.5 !== to.y > y + 0.5) crossed.push(from.x + ((y + 0.5 - from.y) * (to.x - from.x)) / (to.y - from.y));
      });
      crossed.sort((a, b) => a - b);
      for (let pair = 0; pair + 1 < crossed.length; pair += 2) {
        const first = Math.max(0, Math.ceil(crossed[pair] - 0.5));
        const last = Math.min(this.width, Math.ceil(crossed[pair + 1] - 0.5));
        if (last > first) this.marks.fill(value, y * this.width + first, y * this.width + last);
      }
    }
  }

  clear() {
    this.begin();
    this.marks.fill(0);
  }

  /** Mark or clear a disc around a place, in pixels of the image. */
  disc(x, y, radius, value) {
    const reach = Math.ceil(radius);
    for (let row = Math.max(0, Math.floor(y) - reach); row <= Math.min(this.height - 1, Math.floor(y) + reach); row += 1) {
      for (let column = Math.max(0, Math.floor(x) - reach); column <= Math.min(this.width - 1, Math.floor(x) + reach); column += 1) {
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= Math.max(radius, 0.75)) this.marks[row * this.width + column] = value;
      }
    }
  }

  /** Mark discs along a straight line, so that a quick stroke has no gaps. */
  stroke(from, to, radius, value) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(0.5, radius / 2)));
    for (let step = 0; step <= steps; step += 1) {
      this.disc(from.x + ((to.x - from.x) * step) / steps, from.y + ((to.y - from.y) * step) / steps, radius, value);
    }
  }

  /** The pixels of one cell of a grid: first column and row, and those behind the last. */
  cell(row, column, rows, columns) {
    const at = (index, parts, size) => Math.round((index * size) / parts);
    return [at(column, columns, this.width), at(row, rows, this.height), at(column + 1, columns, this.width), at(row + 1, rows, this.height)];
  }

  covers(row, column, rows, columns) {
    const [left, top, right, bottom] = this.cell(row, column, rows, columns);
    let marked = 0;
    for (let y = top; y < bottom; y += 1) for (let x = left; x < right; x += 1) marked += this.marks[y * this.width + x];
    return 2 * marked > (right - left) * (bottom - top);
  }

  fillCell(row, column, rows, columns, value) {
    const [left, top, right, bottom] = this.cell(row, column, rows, columns);
    for (let y = top; y < bottom; y += 1) this.marks.fill(value, y * this.width + left, y * this.width + right);
  }

  /** The region as a PNG in base64, white where relevant. */
  async png() {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: this.width, height: this.height });
    const pen = canvas.getContext("2d");
    const picture = pen.createImageData(this.width, this.height);
    this.marks.forEach((mark, place) => picture.data.fill(mark * 255, place * 4, place * 4 + 3));
    for (let place = 3; place < picture.data.length; place += 4) picture.data[place] = 255;
    pen.putImageData(picture, 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
  }
}
