// The same images before and after: champion and candidate, each with where it looked.
import { compose, drawScale, layer, outline, picture, whileHeld } from "./heat.js";

let shown = [];
let hidden = false;

document.addEventListener("refreshed", load);
document.addEventListener("input", (event) => ["opacity", "outline"].includes(event.target.id) && redraw());
whileHeld("h", (held) => {
  hidden = held;
  redraw();
});
load();

async function load() {
  const figures = [...document.querySelectorAll("[data-pair]")];
  if (!figures.length || shown[0]?.figure === figures[0]) return;
  drawScale(document.getElementById("legend"));
  const folder = `/v1/retrainings/${document.getElementById("run").dataset.id}/comparison`;
  const { pairs } = await (await fetch(folder)).json();
  shown = figures.map((figure) => ({ figure, pair: pairs[figure.dataset.pair] }));
  const watching = new IntersectionObserver((seen) => seen.filter((each) => each.isIntersecting).forEach(({ target }) => {
    watching.unobserve(target);
    open(shown.find((each) => each.figure === target), `${folder}/${target.dataset.pair}`);
  }), { rootMargin: "300px" });
  figures.forEach((figure) => watching.observe(figure));
}

async function open(each, address) {
  const [image, region] = await Promise.all([picture(`${address}/image.png`), each.pair.region ? picture(`${address}/region.png`) : null]);
  const [left, right] = each.figure.querySelectorAll("canvas");
  each.image = image;
  each.border = region && border(region);
  each.sides = [[left, each.pair.champion], [right, each.pair.candidate]].map(([canvas, { grid }]) => {
    canvas.height = Math.round((canvas.width * image.height) / image.width);
    return { canvas, heat: layer(grid, canvas.width, canvas.height) };
  });
  paint(each);
  each.figure.dataset.drawn = "";
}

function redraw() {
  shown.filter((each) => each.sides).forEach(paint);
}

function paint({ image, border: edge, sides }) {
  const opacity = hidden ? 0 : document.getElementById("opacity").value / 100;
  const outlined = !hidden && document.getElementById("outline").checked;
  for (const { canvas, heat } of sides) compose(canvas, { image, heat, opacity, border: outlined ? edge : null });
}

function border(region) {
  const { width, height } = region;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.drawImage(region, 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  return { path: outline((x, y) => data[(y * width + x) * 4] > 0, width, height), columns: width, rows: height };
}
