// Review: image, heatmap and region of one answer after the other; verdicts by button or key.
import { bar } from "./bars.js";
import { Drawing } from "./drawing.js";
import { compose, drawScale, layer, outline, picture, whileHeld } from "./heat.js";
import { Region } from "./region.js";
import { send } from "./send.js";
import { Suggestions } from "./suggesting.js";
import { Viewport } from "./viewport.js";

const NAME = "rightly-name"; // who judges, kept in this browser only
const KEYS = "rightly-keys"; // "off" where somebody does not want single keys to act
const WORDS = { uncertainty: "unsure", outside: "evidence outside the region", flip: "changes with the background", strangeness: "unlike the training images", rarity: "rare class", disagreement: "explainers disagree" };
const WHY = { random: "Here by chance, like any other answer.", chosen: "Here because a review teaches something.", second: "A second reading: what the first reader said stays hidden.", differences: "Readers differ here; decide between them." };
const EXEMPLARS = { "right-reason": "good", "wrong-reason": "bad" };
const byId = (name) => document.getElementById(name);
const root = byId("review");
const canvas = byId("view");
const items = root ? JSON.parse(root.dataset.items) : [];
const state = { place: 0, open: null, hidden: false, busy: false, turn: 0 };
const view = root && new Viewport(canvas);
let drawing = null;
let suggestions = null;

keepName();
if (root) start();

/** Links to the queue of second readings say who reads, so that nobody reads twice. */
function keepName() {
  const name = localStorage.getItem(NAME);
  for (const link of document.querySelectorAll("a[data-reader]")) {
    if (name) link.href += `&reader=${encodeURIComponent(name)}`;
  }
}

function start() {
  drawScale(byId("legend"));
  if (byId("actor")) byId("actor").value = localStorage.getItem(NAME) || "";
  drawing = new Drawing(canvas, {
    view,
    tool: () => root.querySelector("[name=tool]:checked").value,
    size: () => Number(byId("size").value),
    redraw,
    say: (text) => (byId("cell").textContent = text),
  });
  suggestions = new Suggestions(byId("suggestion"), redraw);
  for (const name of ["opacity", "brightness", "contrast"]) byId(name).addEventListener("input", redraw);
  for (const tool of root.querySelectorAll("[name=tool]")) tool.addEventListener("change", () => drawing.abandon());
  whileHeld("h", (hidden) => {
    state.hidden = hidden;
    redraw();
  });
  const actions = {
    reveal, before: () => move(-1), after: () => move(1), second: askSecond, take: takeSuggestion,
    undo: () => change((region) => region.undo()), redo: () => change((region) => region.redo()), clear: () => change((region) => region.clear()),
    closer: () => zoom(1.25), farther: () => zoom(0.8), fit: () => zoom(0), plain: plainImage, help: showHelp,
  };
  for (const [name, act] of Object.entries(actions)) byId(name)?.addEventListener("click", act);
  for (const button of root.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => judge(button.dataset.verdict));
  byId("keys-on").checked = localStorage.getItem(KEYS) !== "off";
  byId("keys-on").addEventListener("change", (event) => localStorage.setItem(KEYS, event.target.checked ? "on" : "off"));
  document.addEventListener("keydown", shortcut);
  open();
}

async function open() {
  const item = items[state.place];
  byId("done").hidden = Boolean(item);
  root.hidden = !item;
  byId("place").textContent = item ? `${state.place + 1} of ${items.length}` : "all done";
  if (!item) return;
  const turn = (state.turn += 1);
  state.open = null;
  const blind = "blind" in root.dataset;
  byId("asked").hidden = !blind;
  byId("shown").hidden = blind;
  for (const name of ["label", "note", "seen-class"]) byId(name).value = "";
  byId("exemplar").checked = false;
  byId("second").disabled = false;
  try {
    const about = `/v1/predictions/${item.prediction_id}`;
    const [answer, regions] = await Promise.all([known(about), known(`${about}/regions`)]);
    const image = await picture(`${about}/image.png`);
    if (turn === state.turn) prepare(item, answer, regions.items, image, blind);
  } catch (error) {
    say(`This answer cannot be shown: ${error.message}`, true);
  }
}

async function known(address) {
  const reply = await fetch(address);
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.detail);
  return found;
}

function prepare(item, answer, regions, image, blind) {
  canvas.height = Math.round((canvas.width * image.height) / image.width);
  view.fit();
  const [rows, columns] = answer.explanation.shape;
  const region = new Region(image.width, image.height);
  state.open = {
    item, answer, image, blind, region, basis: "",
    heat: layer(answer.explanation.grid, canvas.width, canvas.height),
    since: performance.now(),
    told: null,
  };
  drawing.open(region, rows, columns);
  // What an earlier reader drew would tell a second one what it was like.
  const shown = root.dataset.kind === "second" ? regions.filter((each) => each.source !== "reviewer") : regions;
  suggestions.open(shown, answer.explanation.grid);
  byId("pointless").hidden = rows * columns > 1;
  describe(item, answer);
  redraw();
}

function describe(item, { classes, model, explanation }) {
  byId("says").textContent = `Version ${model.version} says ${classes[0].label}`;
  byId("classes").replaceChildren(...classes.map((one) => bar(one, one.index === explanation.target.index)));
  const reasons = Object.entries(item.interest).sort((a, b) => b[1] - a[1]).map(([name, value]) => `${WORDS[name]} ${value.toFixed(2)}`);
  const why = WHY[root.dataset.kind] || WHY[item.stratum];
  byId("why").textContent = reasons.length ? `${why} What speaks for a look: ${reasons.join(", ")}.` : why;
  byId("readings").replaceChildren(...item.said.map(reading));
}

function reading({ actor, verdict, label, note }) {
  const line = document.createElement("li");
  line.append(Object.assign(document.createElement("strong"), { textContent: actor }));
  line.append(` ${verdict.replace("-", " ")}${label ? `, it is ${label}` : ""}${note ? `: ${note}` : ""}`);
  return line;
}

function redraw() {
  const { open: now } = state;
  if (!now) return;
  const opacity = state.hidden || now.blind ? 0 : byId("opacity").value / 100;
  const { region } = now;
  const filter = `brightness(${byId("brightness").value}%) contrast(${byId("contrast").value}%)`;
  const drawn = !state.hidden && !region.empty;
  const path = drawn ? outline((x, y) => region.marks[y * region.width + x] > 0, region.width, region.height) : null;
  compose(canvas, { image: now.image, heat: now.heat, opacity, filter, view, border: drawn ? { path, columns: region.width, rows: region.height } : null });
  if (!state.hidden) {
    if (!now.blind) suggestions.draw(canvas, view);
    drawing.guides();
  }
  byId("undo").disabled = !region.past.length;
  byId("redo").disabled = !region.future.length;
  byId("clear").disabled = region.empty;
  byId("fit").textContent = `${Math.round(100 * view.scale)} %`;
}

function zoom(factor) {
  if (factor) view.zoom(factor);
  else view.fit();
  redraw();
}

function plainImage() {
  for (const name of ["brightness", "contrast"]) byId(name).value = 100;
  redraw();
}

function change(how) {
  if (!state.open) return;
  how(state.open.region);
  if (state.open.region.empty) state.open.basis = "";
  redraw();
}

function takeSuggestion() {
  const { open: now } = state;
  const taken = now && !now.blind && suggestions.chosen();
  if (!taken) return;
  now.region.take(taken.grid, taken.threshold);
  now.basis = taken.source === "reviewer" ? "" : taken.source;
  byId("cell").textContent = `Taken: ${taken.words}. Amend it with brush, erase or polygon.`;
  redraw();
}

function reveal() {
  if (!state.open) return;
  state.open.told = byId("seen-class").value;
  state.open.blind = false;
  byId("asked").hidden = true;
  byId("shown").hidden = false;
  byId("label").value = state.open.told;
  byId("says").tabIndex = -1;
  byId("says").focus();
  redraw();
}

function showHelp() {
  byId("keys").showModal();
}

function shortcut(event) {
  const writes = event.target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio])");
  const off = localStorage.getItem(KEYS) === "off" || byId("keys").open;
  if (writes || off || root.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "[" || key === "]") {
    byId("size").value = Number(byId("size").value) + (key === "]" ? 2 : -2);
    byId("cell").textContent = `Brush ${byId("size").value} % of the image.`;
    return;
  }
  const target = root.querySelector(`[aria-keyshortcuts~="${CSS.escape(key)}"]`);
  if (!target || !target.offsetParent) return;
  event.preventDefault();
  target.click();
}

function move(by) {
  state.place = Math.min(items.length, Math.max(0, state.place + by));
  say("");
  open();
}

/** Who judges; "" where the name is still missing, undefined where people sign in. */
function named() {
  const field = byId("actor");
  if (!field) return undefined;
  const actor = field.value.trim();
  if (actor) localStorage.setItem(NAME, actor);
  else {
    say("Say who you are first: a verdict has a name.", true);
    field.focus();
  }
  return actor;
}

async function judge(verdict) {
  const { open: now } = state;
  if (!now || now.blind || state.busy) return;
  const actor = named();
  if (actor === "") return;
  await settle(async () => {
    const about = `/v1/predictions/${now.item.prediction_id}`;
    const { stratum, inclusion, reading: kind } = now.item;
    if (!now.region.empty) await send("PUT", `${about}/region`, { region: await now.region.png(), source: "reviewer", stratum, actor, basis: now.basis });
    const told = byId("label").value;
    const exemplar = (byId("exemplar").checked && EXEMPLARS[verdict]) || "";
    await send("POST", `${about}/reviews`, {
      verdict, stratum, inclusion, actor, exemplar, reading: kind, note: byId("note").value, blind: now.told !== null,
      seconds: Math.round((performance.now() - now.since) / 100) / 10, ...(told ? { label: told } : {}),
    });
    state.place += 1;
    await open();
    say(`Written down${now.region.empty ? "" : ", with your region"}: ${verdict.replace("-", " ")}${exemplar ? `, a ${exemplar} exemplar` : ""}.`);
  });
}

async function askSecond() {
  const { open: now } = state;
  const actor = now && !state.busy ? named() : "";
  if (actor === "") return;
  await settle(async () => {
    await send("POST", `/v1/predictions/${now.item.prediction_id}/readings`, { actor, reason: byId("note").value });
    byId("second").disabled = true;
    say("Asked: another person finds it under Second reading.");
  });
}

/** Do one thing at a time, and say what went wrong. */
async function settle(act) {
  state.busy = true;
  try {
    await act();
  } catch (error) {
    say(error.message, true);
  } finally {
    state.busy = false;
  }
}

/** Tell what became of it: beside the verdicts, or where the queue has ended. */
function say(text, wrong = false) {
  const place = byId(root.hidden ? "ended" : "said");
  for (const each of [byId("said"), byId("ended")]) each.textContent = each === place ? text : "";
  place.classList.toggle("wrong", wrong);
}
