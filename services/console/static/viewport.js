// Which part of an image a canvas shows: zoom about a place, pan, never past the edge.

const MOST = 16;

export class Viewport {
  constructor(canvas) {
    this.canvas = canvas;
    this.fit();
  }

  fit() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
  }

  /** Zoom so that what lies under a place of the canvas stays there; default: its middle. */
  zoom(factor, at = { x: this.canvas.width / 2, y: this.canvas.height / 2 }) {
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.pan(0, 0);
  }

  pan(right, down) {
    const { width, height } = this.canvas;
    this.x = Math.min(0, Math.max(width * (1 - this.scale), this.x + right));
    this.y = Math.min(0, Math.max(height * (1 - this.scale), this.y + down));
  }

  /** A place on the canvas as shares of the image, 0 to 1 across and down. */
  inside({ x, y }) {
    return { x: (x - this.x) / (this.canvas.width * this.scale), y: (y - this.y) / (this.canvas.height * this.scale) };
  }

  /** The place on the canvas of shares of the image. */
  onCanvas({ x, y }) {
    return { x: x * this.canvas.width * this.scale + this.x, y: y * this.canvas.height * this.scale + this.y };
  }

  /** Pan as little as shows shares of the image. */
  reveal(shares) {
    const { x, y } = this.onCanvas(shares);
    const { width, height } = this.canvas;
    const margin = Math.min(width, height) / 12;
    const missing = (place, size) => Math.max(0, margin - place) - Math.max(0, place - (size - margin));
    this.pan(missing(x, width), missing(y, height));
  }

  /** Where a pointer is on the canvas, in its own pixels. */
  place({ offsetX, offsetY }) {
    return { x: (offsetX / this.canvas.clientWidth) * this.canvas.width, y: (offsetY / this.canvas.clientHeight) * this.canvas.height };
  }
}
