// Review: image, heatmap and region of one answer after the other; verdicts by button or key.
import { compose, drawScale, layer, outline, picture, whileHeld } from "./heat.js";
import { Region } from "./region.js";

const NAME = "rightly-name"; // who judges, kept in this browser only
const WORDS = { uncertainty: "unsure", outside: "evidence outside the region", flip: "changes with the background", strangeness: "unlike the training images", rarity: "rare class", disagreement: "explainers disagree" };
const byId = (name) => document.getElementById(name);
const root = byId("review");
const view = byId("view");
const items = root ? JSON.parse(root.dataset.items) : [];
const state = { place: 0, open: null, hidden: false, busy: false, turn: 0 };

if (root) start();

function start() {
  drawScale(byId("legend"));
  byId("actor").value = localStorage.getItem(NAME) || "";
  for (const name of ["opacity", "brightness", "contrast"]) byId(name).addEventListener("input", redraw);
  whileHeld("h", (hidden) => {
    state.hidden = hidden;
    redraw();
  });
  byId("reveal").addEventListener("click", reveal);
  byId("before").addEventListener("click", () => move(-1));
  byId("after").addEventListener("click", () => move(1));
  byId("undo").addEventListener("click", () => change((region) => region.undo()));
  byId("clear").addEventListener("click", () => change((region) => region.clear()));
  for (const button of root.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => judge(button.dataset.verdict));
  document.addEventListener("keydown", shortcut);
  view.addEventListener("pointerdown", beginStroke);
  view.addEventListener("keydown", drawByKey);
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
  try {
    const reply = await fetch(`/v1/predictions/${item.prediction_id}`);
    const answer = await reply.json();
    if (!reply.ok) throw new Error(answer.detail);
    const image = await picture(`/v1/predictions/${item.prediction_id}/image.png`);
    if (turn !== state.turn) return;
    prepare(item, answer, image, blind);
  } catch (error) {
    say(`This answer cannot be shown: ${error.message}`, true);
  }
}

function prepare(item, answer, image, blind) {
  view.height = Math.round((view.width * image.height) / image.width);
  const [rows, columns] = answer.explanation.shape;
  state.open = {
    item, answer, image, blind, rows, columns,
    heat: layer(answer.explanation.grid, view.width, view.height),
    region: new Region(image.width, image.height),
    cursor: null,
    since: performance.now(),
    told: null,
  };
  describe(item, answer);
  redraw();
}

function describe(item, { classes, model, explanation }) {
  byId("says").textContent = `Version ${model.version} says ${classes[0].label}`;
  byId("classes").replaceChildren(...classes.map((one) => bar(one, one.index === explanation.target.index)));
  const reasons = Object.entries(item.interest).sort((a, b) => b[1] - a[1]).map(([name, value]) => `${WORDS[name]} ${value.toFixed(2)}`);
  const why = item.stratum === "random" ? "Here by chance, like any other answer." : "Here because a review teaches something.";
  byId("why").textContent = reasons.length ? `${why} What speaks for a look: ${reasons.join(", ")}.` : why;
}

function bar({ label, probability }, explained) {
  const row = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row", textContent: label });
  const track = Object.assign(document.createElement("td"), { className: "track" });
  const fill = Object.assign(document.createElement("span"), { className: "fill" });
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  const number = Object.assign(document.createElement("td"), { className: "number", textContent: `${(100 * probability).toFixed(1)} %` });
  row.append(name, track, number);
  if (explained) row.className = "explained";
  return row;
}

function redraw() {
  const { open: now } = state;
  if (!now) return;
  const opacity = state.hidden || now.blind ? 0 : byId("opacity").value / 100;
  const { region, rows, columns } = now;
  const filter = `brightness(${byId("brightness").value}%) contrast(${byId("contrast").value}%)`;
  const drawn = !state.hidden && !region.empty;
  const path = drawn ? outline((x, y) => region.marks[y * region.width + x] > 0, region.width, region.height) : null;
  compose(view, { image: now.image, heat: now.heat, opacity, filter, border: drawn ? { path, columns: region.width, rows: region.height } : null });
  if (now.cursor && document.activeElement === view) drawCursor(now.cursor, rows, columns);
  byId("undo").disabled = !region.past.length;
  byId("clear").disabled = region.empty;
}

function drawCursor({ row, column }, rows, columns) {
  const pen = view.getContext("2d");
  const box = [(column * view.width) / columns, (row * view.height) / rows, view.width / columns, view.height / rows];
  for (const [style, width, dash] of [["#000", 4, []], ["#fff", 2, [6, 4]]]) {
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.strokeRect(...box);
  }
  pen.setLineDash([]);
}

function change(how) {
  if (!state.open) return;
  how(state.open.region);
  redraw();
}

function beginStroke(event) {
  const { open: now } = state;
  if (!now || event.button !== 0) return;
  event.preventDefault();
  view.focus({ preventScroll: true });
  view.setPointerCapture(event.pointerId);
  now.cursor = null;
  const value = root.querySelector("[name=tool]:checked").value === "brush" ? 1 : 0;
  const radius = (byId("size").value / 100) * now.region.width / 2;
  const at = ({ offsetX, offsetY }) => ({ x: (offsetX / view.clientWidth) * now.region.width, y: (offsetY / view.clientHeight) * now.region.height });
  let from = at(event);
  now.region.begin();
  const draw = (each) => {
    const to = at(each);
    now.region.stroke(from, to, radius, value);
    from = to;
    redraw();
  };
  draw(event);
  view.addEventListener("pointermove", draw);
  for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => view.removeEventListener("pointermove", draw), { once: true });
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function drawByKey(event) {
  const { open: now } = state;
  if (!now || event.ctrlKey || event.metaKey || event.altKey) return;
  const { rows, columns, region } = now;
  const cursor = now.cursor || { row: rows >> 1, column: columns >> 1 };
  const step = ARROWS[event.key];
  if (!step && event.key !== " ") return;
  event.preventDefault();
  if (step && now.cursor) {
    cursor.row = Math.min(rows - 1, Math.max(0, cursor.row + step[0]));
    cursor.column = Math.min(columns - 1, Math.max(0, cursor.column + step[1]));
  }
  now.cursor = cursor;
  const place = [cursor.row, cursor.column, rows, columns];
  if (event.key === " ") {
    region.begin();
    region.fillCell(...place, region.covers(...place) ? 0 : 1);
  }
  byId("cell").textContent = `Row ${cursor.row + 1} of ${rows}, column ${cursor.column + 1} of ${columns}: ${region.covers(...place) ? "in the region" : "not in the region"}.`;
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

function shortcut(event) {
  const writes = event.target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio])");
  if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.toLowerCase() === "z") return change((region) => region.undo());
  const button = root.querySelector(`[aria-keyshortcuts="${CSS.escape(event.key.toLowerCase())}"]`);
  if (button && button.offsetParent) button.click();
}

function move(by) {
  state.place = Math.min(items.length, Math.max(0, state.place + by));
  say("");
  open();
}

async function judge(verdict) {
  const { open: now } = state;
  if (!now || now.blind || state.busy) return;
  const actor = byId("actor").value.trim();
  if (!actor) {
    say("Say who you are first: a verdict has a name.", true);
    byId("actor").focus();
    return;
  }
  localStorage.setItem(NAME, actor);
  state.busy = true;
  try {
    const about = `/v1/predictions/${now.item.prediction_id}`;
    const { stratum, inclusion } = now.item;
    if (!now.region.empty) await send("PUT", `${about}/region`, { region: await now.region.png(), source: "reviewer", stratum, actor });
    const told = byId("label").value;
    await send("POST", `${about}/reviews`, {
      verdict, stratum, inclusion, actor, note: byId("note").value, blind: now.told !== null,
      seconds: Math.round((performance.now() - now.since) / 100) / 10, ...(told ? { label: told } : {}),
    });
    const drawn = now.region.empty ? "" : ", with your region";
    state.place += 1;
    await open();
    say(`Written down${drawn}: ${verdict.replace("-", " ")}.`);
  } catch (error) {
    say(error.message, true);
  } finally {
    state.busy = false;
  }
}

async function send(method, path, body) {
  const reply = await fetch(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!reply.ok) throw new Error((await reply.json()).detail);
}

function say(text, wrong = false) {
  byId("said").textContent = text;
  byId("said").classList.toggle("wrong", wrong);
}
