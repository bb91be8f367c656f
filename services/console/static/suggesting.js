// Regions that are already known, and the heatmap itself, to accept or amend.
import { outline, stretched } from "./heat.js";

const NAMES = { client: "sent with the image", segmenter: "of the segmenter", template: "of the template", reviewer: "of an earlier reviewer", heatmap: "where the classifier looked" };
const SIDE = 128; // pixels of the preview's outline

export class Suggestions {
  /** @param {HTMLElement} bar  holds a select, a slider for the heatmap's threshold and a button */
  constructor(bar, redraw) {
    Object.assign(this, { bar, redraw, items: [], path: null });
    this.choice = bar.querySelector("select");
    this.slider = bar.querySelector("input[type=range]");
    this.button = bar.querySelector("button");
    for (const field of [this.choice, this.slider]) field.addEventListener("input", () => this.show());
  }

  open(regions, heatmap) {
    this.items = [...regions, { source: "heatmap", grid: heatmap }];
    const options = this.items.map(({ source }, number) => new Option(NAMES[source], String(number)));
    this.choice.replaceChildren(new Option("none", ""), ...options);
    this.show();
  }

  /** The one that is chosen, with the share from which a pixel belongs to it; null for none. */
  chosen() {
    const item = this.choice.value === "" ? null : this.items[Number(this.choice.value)];
    if (!item) return null;
    const highest = Math.max(...item.grid.flat());
    const threshold = item.source === "heatmap" ? Number(this.slider.value) / 100 : Math.min(0.5, highest / 2);
    return { ...item, threshold: Math.max(threshold, 1e-3), words: NAMES[item.source] };
  }

  show() {
    const chosen = this.chosen();
    this.slider.closest("label").hidden = chosen?.source !== "heatmap";
    this.button.disabled = !chosen;
    this.path = null;
    if (chosen) {
      const values = stretched(chosen.grid, SIDE, SIDE);
      this.path = outline((x, y) => values[y * SIDE + x] >= chosen.threshold, SIDE, SIDE);
    }
    this.redraw();
  }

  /** Draw its outline, dashed. */
  draw(canvas, { scale, x, y }) {
    if (!this.path) return;
    const pen = canvas.getContext("2d");
    const path = new Path2D();
    path.addPath(this.path, new DOMMatrix([(scale * canvas.width) / SIDE, 0, 0, (scale * canvas.height) / SIDE, x, y]));
    for (const [style, width, dash] of [["rgb(0 0 0 / 65%)", 4, []], ["#fff", 1.75, [5, 4]]]) {
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.setLineDash(dash);
      pen.stroke(path);
    }
    pen.setLineDash([]);
  }
}
