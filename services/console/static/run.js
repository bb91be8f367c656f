// A retraining as it goes: what the server streams is drawn, and the page's parts follow its state.
// forms.js is loaded from here alone: a second copy would send everything twice.
import { wire } from "./forms.js";

const run = document.getElementById("run");
const place = document.getElementById("losses");
const log = document.getElementById("log");
const HEIGHT = 190;
const LINES = 2000; // of the log, kept on the page
const epochs = new Map(JSON.parse(place.dataset.epochs).map((each) => [each.epoch, each]));
let chart = null;
let due = 0;

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new ResizeObserver(() => chart?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
follow();

function follow() {
  const source = new EventSource(`/v1/retrainings/${run.dataset.id}/stream`);
  let standing = run.dataset.state;
  source.addEventListener("open", () => log.replaceChildren());
  source.addEventListener("log", ({ data }) => print(JSON.parse(data).line));
  source.addEventListener("epoch", ({ data }) => {
    const each = JSON.parse(data);
    epochs.set(each.epoch, each);
    clearTimeout(due);
    due = setTimeout(draw, 50);
  });
  source.addEventListener("state", ({ data }) => {
    const { status, step } = JSON.parse(data);
    if (standing !== `${status} ${step}`) refresh();
    standing = `${status} ${step}`;
  });
  source.addEventListener("end", () => {
    source.close();
    if (run.dataset.live === "yes") refresh();
    if (!log.textContent) print("Nothing was printed.");
  });
}

function print(line) {
  const down = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(`${line}\n`);
  while (log.childNodes.length > LINES) log.firstChild.remove();
  if (down) log.scrollTop = log.scrollHeight;
}

/** Ask for the page again and put its parts in place, unless somebody is deciding just now. */
async function refresh() {
  const open = document.querySelector("dialog[open]");
  if (open) return open.addEventListener("close", refresh, { once: true });
  const reply = await fetch(location.href);
  if (!reply.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!other || part.dataset.part === "training" || part.innerHTML === other.innerHTML) continue;
    part.replaceWith(other);
    wire(other);
  }
  run.dataset.live = fresh.getElementById("run").dataset.live;
  document.dispatchEvent(new Event("refreshed"));
}

function draw() {
  const rows = [...epochs.values()].sort((one, other) => one.epoch - other.epoch);
  if (!rows.length) return;
  const latest = rows.at(-1);
  const names = Object.keys(latest.terms).sort((one, other) => (one === "total" ? -1 : other === "total" ? 1 : 0));
  const ink = (token) => getComputedStyle(document.documentElement).getPropertyValue(`--${token}`).trim();
  const axis = { stroke: ink("soft"), grid: { stroke: ink("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const styles = [{ stroke: ink("accent"), width: 2 }, { stroke: ink("ink"), width: 1.5, dash: [6, 3] }, { stroke: ink("soft"), width: 1.5, dash: [2, 3] }];
  const series = names.map((name, at) => ({ label: name === "total" ? "loss" : name, ...styles[Math.min(at, styles.length - 1)], points: { show: rows.length < 2 }, value: (_, value) => (value === null ? "–" : value.toFixed(3)) }));
  const data = [rows.map((each) => each.epoch), ...names.map((name) => rows.map((each) => each.terms[name] ?? null))];
  const last = latest.epochs;
  chart?.destroy();
  place.replaceChildren();
  chart = new uPlot(
    {
      width: place.clientWidth,
      height: HEIGHT,
      scales: { x: { time: false, range: [1, Math.max(2, last)] }, y: { range: (_, low, high) => [Math.min(0, low), 1.06 * high || 1] } },
      axes: [{ ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500], values: (_, all) => all.map((value) => `${value}`) }, { ...axis, size: 48, values: (_, all) => all.map((value) => value.toFixed(all.at(-1) < 1 ? 2 : 1)) }],
      series: [{ label: "epoch", value: (_, value) => (value === null ? "–" : `${value}`) }, ...series],
      legend: { markers: { width: 2 } },
      hooks: { ready: [(plot) => plot.setLegend({ idx: rows.length - 1 })] },
    },
    data,
    place,
  );
  document.getElementById("share").value = latest.share;
  document.getElementById("now").textContent = told(latest);
}

function told({ epoch, epochs: all, terms, validation, seconds_left: left, share }) {
  const ahead = share < 1 && run.dataset.live === "yes" ? `, ${lasting(left)} left` : "";
  const held = Object.entries(validation ?? {}).filter(([name]) => name !== "loss").map(([name, value]) => `${name.replaceAll("_", " ")} ${value.toFixed(3)}`);
  return `Epoch ${epoch} of ${all}${ahead}. Loss ${terms.total?.toFixed(3)}.${held.length ? ` On held-out rows: ${held.join(", ")}.` : ""}`;
}

function lasting(seconds) {
  return seconds < 90 ? `about ${Math.max(1, Math.round(seconds))} s` : `about ${Math.round(seconds / 60)} min`;
}
