// Mean heatmaps of suspected shortcuts: the strongest cell brightest.
import { layer } from "./heat.js";

for (const canvas of document.querySelectorAll("canvas[data-grid]")) {
  const grid = JSON.parse(canvas.dataset.grid);
  const highest = Math.max(...grid.flat(), 1e-9);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(layer(grid.map((row) => row.map((value) => value / highest)), canvas.width, canvas.height), 0, 0);
}
