// Drawing a region on the canvas: brush, erase, polygon and move, by pointer and by keyboard.

const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const FINE = 1 / 32; // step of the polygon's cursor, as a share of the image
const NEAR = 10; // pixels of the canvas within which the first corner closes a polygon
const clamp = (value) => Math.min(1, Math.max(0, value));

export class Drawing {
  /** @param {HTMLCanvasElement} canvas
   * @param {{view: object, tool: () => string, size: () => number, redraw: () => void, say: (text: string) => void}} with_ */
  constructor(canvas, with_) {
    Object.assign(this, { canvas, ...with_ });
    this.open(null, 0, 0);
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** Draw on a region whose heatmap has so many rows and columns. */
  open(region, rows, columns) {
    Object.assign(this, { region, rows, columns, cell: null, point: { x: 0.5, y: 0.5 }, corners: [], ahead: null });
  }

  press(event) {
    if (!this.region || event.button > 1) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.cell = null;
    const tool = event.button === 1 || event.shiftKey ? "move" : this.tool();
    if (tool === "polygon") this.corner(this.view.inside(this.view.place(event)), true);
    else if (tool === "move") this.drag(event, (from, to) => this.view.pan(to.x - from.x, to.y - from.y));
    else this.stroke(event, tool === "brush" ? 1 : 0);
  }

  stroke(event, value) {
    const { region, view } = this;
    const pixels = ({ x, y }) => ({ x: x * region.width, y: y * region.height });
    const radius = (this.size() / 200) * region.width;
    const draw = (from, to) => region.stroke(pixels(view.inside(from)), pixels(view.inside(to)), radius, value);
    region.begin();
    const place = view.place(event);
    draw(place, place);
    this.drag(event, draw);
  }

  /** Call `moved(from, to)` for every move of the pointer until it is let go. */
  drag(event, moved) {
    let from = this.view.place(event);
    this.canvas.setPointerCapture(event.pointerId);
    const follow = (each) => {
      const to = this.view.place(each);
      moved(from, to);
      from = to;
      this.redraw();
    };
    const end = () => this.canvas.removeEventListener("pointermove", follow);
    this.canvas.addEventListener("pointermove", follow);
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, end, { once: true });
    this.redraw();
  }

  hover(event) {
    if (!this.corners.length) return;
    this.ahead = this.view.inside(this.view.place(event));
    this.redraw();
  }

  wheel(event) {
    const closer = event.deltaY < 0;
    if (!this.region || (!closer && this.view.scale === 1)) return; // nothing to zoom out of: the page scrolls
    event.preventDefault();
    this.view.zoom(closer ? 1.25 : 0.8, this.view.place(event));
    this.redraw();
  }

  /** Set a corner of the polygon; near the first one a pointer closes it. */
  corner(at, pointed) {
    const place = { x: clamp(at.x), y: clamp(at.y) };
    const [first] = this.corners;
    if (pointed && this.corners.length > 2 && first) {
      const [a, b] = [this.view.onCanvas(first), this.view.onCanvas(place)];
      if (Math.hypot(a.x - b.x, a.y - b.y) < NEAR) return this.close();
    }
    this.corners.push(place);
    this.ahead = null;
    this.say(`Corner ${this.corners.length}. ${this.corners.length > 2 ? "Enter closes the polygon." : "A polygon has three at least."}`);
    return this.redraw();
  }

  /** Fill the polygon. */
  close() {
    if (this.corners.length > 2) {
      this.region.begin();
      this.region.polygon(this.corners.map(({ x, y }) => ({ x: x * this.region.width, y: y * this.region.height })), 1);
      this.say("The polygon is in the region.");
    }
    this.abandon();
  }

  abandon() {
    Object.assign(this, { corners: [], ahead: null });
    this.redraw();
  }

  key(event) {
    if (!this.region || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = ARROWS[event.key];
    const polygon = this.tool() === "polygon";
    const handled =
      step && (event.shiftKey || this.tool() === "move") ? this.panBy(step) : step ? (polygon ? this.aim(step) : this.moveCell(step)) : this.act(event.key, polygon);
    if (handled) {
      event.preventDefault();
      event.stopPropagation();
      this.redraw();
    }
  }

  act(key, polygon) {
    if (key === " ") return polygon ? (this.corner(this.point, false), true) : this.toggleCell();
    if (!polygon || !this.corners.length) return false;
    if (key === "Enter") this.close();
    else if (key === "Backspace") this.corners.pop();
    else if (key === "Escape") this.abandon();
    else return false;
    return true;
  }

  panBy([x, y]) {
    this.view.pan((-x * this.canvas.width) / 8, (-y * this.canvas.height) / 8);
    return true;
  }

  aim([x, y]) {
    this.point = { x: clamp(this.point.x + x * FINE), y: clamp(this.point.y + y * FINE) };
    this.ahead = this.corners.length ? this.point : null;
    this.view.reveal(this.point);
    this.say(`${Math.round(100 * this.point.x)} % across, ${Math.round(100 * this.point.y)} % down. Space sets a corner.`);
    return true;
  }

  moveCell([x, y]) {
    if (this.cell) {
      this.cell.row = Math.min(this.rows - 1, Math.max(0, this.cell.row + y));
      this.cell.column = Math.min(this.columns - 1, Math.max(0, this.cell.column + x));
    }
    return this.tellCell();
  }

  toggleCell() {
    this.cell ||= this.middle();
    const place = [this.cell.row, this.cell.column, this.rows, this.columns];
    this.region.begin();
    this.region.fillCell(...place, this.region.covers(...place) ? 0 : 1);
    return this.tellCell();
  }

  tellCell() {
    this.cell ||= this.middle();
    const { row, column } = this.cell;
    this.view.reveal({ x: (column + 0.5) / this.columns, y: (row + 0.5) / this.rows });
    const inside = this.region.covers(row, column, this.rows, this.columns);
    this.say(`Row ${row + 1} of ${this.rows}, column ${column + 1} of ${this.columns}: ${inside ? "in the region" : "not in the region"}.`);
    return true;
  }

  middle() {
    return { row: this.rows >> 1, column: this.columns >> 1 };
  }

  /** Draw what guides the hand: the cell under the cursor, the polygon so far. */
  guides() {
    const pen = this.canvas.getContext("2d");
    const focused = document.activeElement === this.canvas;
    if (this.cell && focused && this.tool() !== "polygon") {
      const from = this.view.onCanvas({ x: this.cell.column / this.columns, y: this.cell.row / this.rows });
      const to = this.view.onCanvas({ x: (this.cell.column + 1) / this.columns, y: (this.cell.row + 1) / this.rows });
      twice(pen, () => pen.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y), [6, 4]);
    }
    if (this.tool() !== "polygon") return;
    const corners = this.corners.map((each) => this.view.onCanvas(each));
    const ahead = this.ahead && this.view.onCanvas(this.ahead);
    const path = new Path2D();
    [...corners, ...(ahead ? [ahead] : [])].forEach(({ x, y }, number) => (number ? path.lineTo(x, y) : path.moveTo(x, y)));
    for (const { x, y } of corners) path.rect(x - 3, y - 3, 6, 6);
    if (focused) {
      const { x, y } = this.view.onCanvas(this.point);
      for (const [right, down] of [[9, 0], [0, 9]]) {
        path.moveTo(x - right, y - down);
        path.lineTo(x + right, y + down);
      }
    }
    twice(pen, () => pen.stroke(path), []);
  }
}

/** Stroke in black, then thinner in white: seen on every image. */
function twice(pen, stroke, dash) {
  for (const [style, width, gaps] of [["#000", 4, []], ["#fff", 2, dash]]) {
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.setLineDash(gaps);
    stroke();
  }
  pen.setLineDash([]);
}
