// The evidence of one watch over time: e-value and CUSUM, each with the value that raises the alarm.
import { asked, Chart, drawFlags, drawVersions, ink, overTime, seconds } from "./charts.js";

const form = document.getElementById("watches");
const byId = (name) => document.getElementById(name);
const WORDS = { ok: "nothing to report", warning: "close to an alarm", alarm: "alarm", acknowledged: "acknowledged", requested: "retraining asked for", closed: "closed" };
const SIDES = { low: "falls", high: "rises" };
const LEAST = 0.01; // an e-value below says no more than this one
const charts = form && { evidence: new Chart(byId("evalue")), cusum: new Chart(byId("cusum")) };
const address = form && `/v1/models/${encodeURIComponent(form.dataset.model)}/audit`;
let watches = [];
let latest = 0;

if (form) start();

async function start() {
  const names = JSON.parse(form.dataset.names);
  try {
    watches = (await asked(`${address}/watches`, { version: form.dataset.version })).items;
  } catch (error) {
    say(error.message);
    return;
  }
  if (!watches.length) {
    form.hidden = true;
    say("Nothing is watched yet: the first answers begin a watch.");
    return;
  }
  const title = (each) => `${names[each.measure] || each.measure}${each.class ? ` of class ${each.class}` : ""} ${SIDES[each.side]}${each.source ? `, regions of the ${each.source}` : ""}: ${each.unwatchable ? "cannot be watched" : WORDS[each.state]}`;
  form.elements.watch.replaceChildren(...watches.map((each, number) => new Option(title(each), String(number))));
  form.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

async function draw() {
  const turn = (latest += 1);
  const { version, measure, side, source, class: label } = watches[Number(form.elements.watch.value)];
  try {
    const found = await asked(`${address}/evidence`, { version, measure, side, source, class: label });
    if (turn === latest) show(found);
  } catch (error) {
    say(error.message);
  }
}

function show({ watch, points, marks, bands }) {
  const known = watch.evidence && points.length > 0;
  byId("charts").hidden = !known;
  say(told(watch));
  if (!known) return;
  const times = points.map((each) => seconds(each.at));
  const flags = marks.filter((each) => each.state === "alarm").map((each) => each.at);
  const moves = bands.map((each) => ({ at: each.since, version: each.version }));
  const { threshold } = watch.evidence;
  charts.evidence.show(
    {
      ...options("e-value", moves, flags, (_, all) => all.map(power), powers),
      scales: { y: { distr: 3, range: (_, low, high) => [LEAST, Math.max(high, threshold) * 3] } },
    },
    [times, points.map((each) => Math.max(LEAST, each.peak)), times.map(() => threshold)],
  );
  byId("cusum").parentElement.hidden = !watch.cusum;
  if (!watch.cusum) return;
  const limit = watch.cusum.threshold;
  charts.cusum.show(
    {
      ...options("CUSUM", moves, flags, (_, all) => all.map((value) => String(value))),
      scales: { y: { range: (_, __, high) => [0, Math.max(high, limit) * 1.15] } },
    },
    [times, points.map((each) => each.cusum_peak), times.map(() => limit)],
  );
}

function options(name, moves, flags, labels, splits) {
  const number = (_, value) => (value === null ? "–" : write(value));
  return {
    ...overTime(labels, splits),
    series: [
      { value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      { label: name, stroke: ink("accent"), width: 2, points: { show: false }, value: number },
      { label: "alarm at", stroke: ink("alarm"), width: 1.5, dash: [6, 4], points: { show: false }, value: number },
    ],
    hooks: { drawClear: [(plot) => drawVersions(plot, moves)], draw: [(plot) => drawFlags(plot, flags)] },
  };
}

/** Powers of ten between two numbers, six at the most. */
function powers(_, __, low, high) {
  const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
  const step = Math.ceil((last - first + 1) / 6);
  const found = [];
  for (let exponent = Math.ceil(first / step) * step; exponent <= last; exponent += step) found.push(10 ** exponent);
  return found;
}

/** A power of ten as people write it. */
function power(value) {
  const exponent = Math.round(Math.log10(value));
  return exponent >= 4 ? `10${superscript(exponent)}` : String(value);
}

function superscript(number) {
  return [...String(number)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
}

/** A number as people read it: a power of ten where it is beyond counting. */
function write(value) {
  if (value < 1e7) return Number(value.toPrecision(3)).toLocaleString("en");
  const exponent = Math.floor(Math.log10(value));
  return `${(value / 10 ** exponent).toFixed(1)} · 10${superscript(exponent)}`;
}

function told({ evidence, cusum, reference, observations, unwatchable }) {
  if (unwatchable) return `This cannot be watched: ${unwatchable}.`;
  if (!evidence) return `${observations} answers so far; the first 200 become what is normal.`;
  const normal = reference ? ` Normal is ${reference.mean.toFixed(2)}, from ${reference.origin === "card" ? "the model card" : "the first answers"}.` : "";
  const drawn = cusum ? ` CUSUM ${write(cusum.value)} of ${write(cusum.threshold)}.` : "";
  return `E-value ${write(evidence.value)} of ${write(evidence.threshold)} after ${observations} answers.${drawn}${normal}`;
}

function say(text) {
  byId("watched").textContent = text;
}
