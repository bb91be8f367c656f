// "Try it": one image, one or two versions, the evidence of each drawn over what it saw.
import { bar, percent } from "./bars.js";
import { compose, drawScale, layer, outline, picture, whileHeld } from "./heat.js";
import { send } from "./send.js";

const form = document.getElementById("try");
const byId = (name) => document.getElementById(name);
const state = { image: null, region: null, shown: [], hidden: false, turn: 0 };

if (form) start();

function start() {
  drawScale(byId("legend"));
  byId("model")?.addEventListener("change", (event) => location.assign(`/try?model=${encodeURIComponent(event.target.value)}`));
  byId("opacity").addEventListener("input", redraw);
  byId("region").addEventListener("change", redraw);
  whileHeld("h", (hidden) => {
    state.hidden = hidden;
    redraw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["version", "beside", "explainer", "target"]) form.elements[name].addEventListener("change", ask);
  byId("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0], null, null));
  byId("samples")?.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) pick(button);
  });
  acceptDrops();
}

function acceptDrops() {
  const zone = form.querySelector(".drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragover");
      const file = kind === "drop" && event.dataTransfer.files[0];
      if (file) take(file, null, null);
    });
  }
}

async function pick(button) {
  const load = async (address) => (address ? (await fetch(address)).blob() : null);
  take(await load(button.dataset.image), await load(button.dataset.region), button);
}

function take(image, region, button) {
  for (const each of form.querySelectorAll(".thumb")) each.setAttribute("aria-pressed", String(each === button));
  Object.assign(state, { image, region });
  ask();
}

async function ask() {
  if (!state.image) return;
  const turn = (state.turn += 1);
  say("Asking…");
  const versions = [form.elements.version.value, form.elements.beside.value].filter((each, at, all) => each && all.indexOf(each) === at);
  try {
    const shown = await Promise.all(versions.map(trial));
    if (turn !== state.turn) return; // a later question has been asked meanwhile
    state.shown = shown;
    show();
    say(shown.map(({ answer }) => `Version ${answer.model.version} says ${answer.classes[0].label}, ${percent(answer.classes[0].probability)}.`).join(" "));
  } catch (error) {
    if (turn === state.turn) say(error.message, true);
  }
}

async function trial(version) {
  const body = new FormData();
  body.append("image", state.image, "image");
  if (state.region) body.append("region", state.region, "region.png");
  body.append("explainer", form.elements.explainer.value);
  if (form.elements.target.value) body.append("target", form.elements.target.value);
  const address = `/v1/models/${encodeURIComponent(form.dataset.model)}/versions/${version}/trials`;
  const answer = await send("POST", address, body).catch((error) => {
    throw new Error(`Version ${version}: ${error.message}`);
  });
  return { answer, image: await picture(answer.image), border: state.region ? await border(state.region) : null };
}

/** The outline of a region, on its own pixels. */
async function border(blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  return { path: outline((x, y) => data[(y * width + x) * 4] > 0, width, height), columns: width, rows: height };
}

function show() {
  byId("nothing").hidden = true;
  byId("seen").hidden = false;
  byId("outline").hidden = !state.region;
  byId("answers").replaceChildren(...state.shown.map(article));
  redraw();
}

function article(each) {
  const made = byId("answer").content.cloneNode(true).firstElementChild;
  const { answer } = each;
  const target = answer.explanation.target;
  made.querySelector("h2").textContent = `Version ${answer.model.version}`;
  each.canvas = made.querySelector("canvas");
  each.canvas.height = Math.round((each.canvas.width * each.image.height) / each.image.width);
  each.canvas.setAttribute("aria-label", `What the classifier saw, with the evidence for ${target.label}`);
  each.heat = layer(answer.explanation.grid, each.canvas.width, each.canvas.height);
  made.querySelector("tbody").append(...answer.classes.map((one) => bar(one, one.index === target.index)));
  made.querySelector(".found").textContent = finding(answer);
  return made;
}

function finding({ audit, explanation }) {
  const [rows, columns] = explanation.shape;
  const about = rows * columns > 1 ? `Evidence for ${explanation.target.label}.` : `The heatmap has a single cell: it says nothing about where the evidence for ${explanation.target.label} lies.`;
  if (!audit) return about;
  const { relevance_mass: mass, chance } = audit;
  return `${about} ${percent(mass)} of Grad-CAM lies in the expected region, which covers ${percent(chance)} of the image.`;
}

function redraw() {
  const opacity = state.hidden ? 0 : byId("opacity").value / 100;
  const outlined = !state.hidden && byId("region").checked;
  for (const { canvas, image, heat, border: edge } of state.shown) {
    compose(canvas, { image, heat, opacity, border: outlined ? edge : null });
  }
}

function say(text, wrong = false) {
  byId("said").textContent = text;
  byId("said").className = wrong ? "said wrong" : "said unseen"; // what is said else can be seen
}
