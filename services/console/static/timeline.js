// A measure over time and how it is distributed: mean and interval, chance, who answered when, alarms.
import { asked, axis, Chart, drawFlags, drawVersions, ink, overTime, seconds } from "./charts.js";

const form = document.getElementById("choose");
const byId = (name) => document.getElementById(name);
const place = byId("timeline");
const said = byId("said");
const CHANCE = { activation_recall: "recall_chance", relevance_mass: "chance" };
const OTHERS = [[6, 4], [2, 3], [10, 4], [1, 2]]; // dashes of versions that do not answer
const charts = form && { time: new Chart(place), spread: new Chart(byId("distribution")) };
let latest = 0;

if (form) {
  form.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

async function draw() {
  const turn = (latest += 1);
  const { measure, bucket, class: label } = Object.fromEntries(new FormData(form));
  const address = `/v1/models/${encodeURIComponent(form.dataset.model)}/audit`;
  const query = { source: form.dataset.source, class: label || undefined };
  try {
    const [found, chances, spread] = await Promise.all([
      asked(`${address}/series`, { ...query, measure, bucket }),
      CHANCE[measure] ? asked(`${address}/series`, { ...query, measure: CHANCE[measure], bucket }) : { points: [] },
      asked(`${address}/distribution`, { ...query, measure }),
    ]);
    if (turn !== latest) return;
    showTime({ measure, label, bucket: found.bucket }, found.points, chances.points);
    showSpread(spread);
  } catch (error) {
    said.textContent = error.message;
    said.classList.add("wrong");
  }
}

function showTime(wanted, points, chances) {
  const name = form.elements.measure.selectedOptions[0].text;
  const chance = new Map(chances.map((each) => [each.start, each.estimate.value]));
  const clip = (value) => (value === null ? null : Math.min(1, Math.max(0, value)));
  charts.time.show(timeOptions(name, wanted), [
    points.map((each) => seconds(each.start)),
    points.map((each) => each.estimate.value),
    points.map((each) => clip(each.estimate.low)),
    points.map((each) => clip(each.estimate.high)),
    points.map((each) => chance.get(each.start) ?? null),
  ]);
  said.classList.remove("wrong");
  said.textContent = points.length ? `${name}: ${points.length} points, the latest ${points.at(-1).estimate.value.toFixed(2)}.` : "No answer of this class has a region yet.";
}

function timeOptions(name, { measure, label, bucket }) {
  const accent = ink("accent");
  const soft = ink("soft");
  const edge = { stroke: "transparent", points: { show: false } };
  const number = (_, value) => (value === null ? "–" : value.toFixed(2));
  const moves = JSON.parse(place.dataset.moves);
  const { source } = form.dataset;
  const raised = JSON.parse(place.dataset.alarms)
    .filter((each) => each.measure === measure && each.source === source && (!label || each.class_label === label))
    .map((each) => each.raised_at);
  return {
    ...overTime((_, all) => all.map((value) => value.toFixed(1))),
    scales: { y: { range: [0, 1] }, x: { range: (_, low, high) => padded(low, high, bucket) } },
    series: [
      { value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      { label: name, stroke: accent, width: 2, points: { size: 6, fill: accent, show: true }, value: number },
      { ...edge, label: "from", value: number },
      { ...edge, label: "to", value: number },
      { label: "chance", stroke: soft, width: 1, dash: [4, 4], points: { show: false }, value: number },
    ],
    bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${accent} 18%, transparent)` }],
    hooks: { drawClear: [(plot) => drawVersions(plot, moves)], draw: [(plot) => drawFlags(plot, raised)] },
  };
}

function padded(low, high, bucket) {
  const room = { hour: 1800, day: 43200, month: 86400 * 15 }[bucket];
  return [low - room, high + room];
}

/** Shares of answers per bin, a line per version; the one that answers is filled. */
function showSpread({ edges, versions }) {
  const champion = Number(form.dataset.champion);
  const shown = versions.filter((each) => each.observations > 0);
  byId("distributed").textContent = shown.map((each) => `Version ${each.version}: mean ${each.mean.value.toFixed(2)} of ${each.observations}.`).join(" ") || "Nothing is known yet.";
  if (!shown.length) {
    charts.spread.clear();
    return;
  }
  const shares = ({ counts, observations }) => [...counts, counts.at(-1)].map((count) => count / observations);
  const accent = ink("accent");
  const others = shown.filter((each) => each.version !== champion);
  const line = (each) =>
    each.version === champion
      ? { stroke: accent, width: 2, fill: `color-mix(in srgb, ${accent} 18%, transparent)` }
      : { stroke: ink("soft"), width: 1.5, dash: OTHERS[others.indexOf(each) % OTHERS.length] };
  charts.spread.show(
    {
      scales: { x: { time: false, range: [0, 1] }, y: { range: (_, __, high) => [0, 1.1 * high] } },
      axes: [{ ...axis(), grid: { show: false }, space: 90, values: (_, all) => all.map((value) => value.toFixed(1)) }, { ...axis(), size: 52, values: (_, all) => all.map((value) => `${Math.round(100 * value)} %`) }],
      series: [
        { label: "from", value: (_, value) => (value === null ? "–" : value.toFixed(2)) },
        ...shown.map((each) => ({
          label: `version ${each.version}`,
          ...line(each),
          points: { show: false },
          paths: uPlot.paths.stepped({ align: 1 }),
          value: (_, value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`),
        })),
      ],
    },
    [edges, ...shown.map(shares)],
  );
}
