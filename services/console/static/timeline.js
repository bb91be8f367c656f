// A measure over time: mean and interval, chance, who answered when, which alarms were raised.

const form = document.getElementById("choose");
const place = document.getElementById("timeline");
const said = document.getElementById("said");
const CHANCE = { activation_recall: "recall_chance", relevance_mass: "chance" };
const HEIGHT = 260;
let chart = null;
let latest = 0;

if (form) {
  form.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => chart?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
  draw();
}

async function draw() {
  const turn = (latest += 1);
  const wanted = Object.fromEntries(new FormData(form));
  try {
    const [points, chances] = await Promise.all([series(wanted.measure, wanted), series(CHANCE[wanted.measure], wanted)]);
    if (turn === latest) show(wanted, points, chances);
  } catch (error) {
    said.textContent = error.message;
    said.classList.add("wrong");
  }
}

async function series(measure, { bucket, class: label }) {
  const query = new URLSearchParams({ measure, bucket, source: form.dataset.source });
  if (label) query.set("class", label);
  const reply = await fetch(`/v1/models/${encodeURIComponent(form.dataset.model)}/audit/series?${query}`);
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.detail);
  return found.points;
}

function show(wanted, points, chances) {
  const name = form.elements.measure.selectedOptions[0].text;
  const seconds = (text) => Date.parse(text) / 1000;
  const chance = new Map(chances.map((each) => [each.start, each.estimate.value]));
  const clip = (value) => (value === null ? null : Math.min(1, Math.max(0, value)));
  const rows = [
    points.map((each) => seconds(each.start)),
    points.map((each) => each.estimate.value),
    points.map((each) => clip(each.estimate.low)),
    points.map((each) => clip(each.estimate.high)),
    points.map((each) => chance.get(each.start) ?? null),
  ];
  chart?.destroy();
  place.replaceChildren();
  chart = new uPlot(options(name, wanted), rows, place);
  said.classList.remove("wrong");
  said.textContent = points.length ? `${name}: ${points.length} points, the latest ${points.at(-1).estimate.value.toFixed(2)}.` : "No answer of this class has a region yet.";
}

function options(name, wanted) {
  const ink = (token) => getComputedStyle(document.documentElement).getPropertyValue(`--${token}`).trim();
  const accent = ink("accent");
  const soft = ink("soft");
  const axis = { stroke: soft, grid: { stroke: ink("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const edge = { stroke: "transparent", points: { show: false } };
  const number = (_, value) => (value === null ? "–" : value.toFixed(2));
  return {
    width: place.clientWidth,
    height: HEIGHT,
    tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), "Etc/UTC"),
    scales: { y: { range: [0, 1] }, x: { range: (_, low, high) => padded(low, high, wanted.bucket) } },
    axes: [{ ...axis, grid: { show: false }, values: (_, all, __, ___, step) => all.map((stamp) => dated(stamp, step)) }, { ...axis, size: 44, values: (_, all) => all.map((value) => value.toFixed(1)) }],
    series: [
      { value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      { label: name, stroke: accent, width: 2, points: { size: 6, fill: accent, show: true }, value: number },
      { ...edge, label: "from", value: number },
      { ...edge, label: "to", value: number },
      { label: "chance", stroke: soft, width: 1, dash: [4, 4], points: { show: false }, value: number },
    ],
    bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${accent} 18%, transparent)` }],
    hooks: { drawClear: [(plot) => drawVersions(plot, ink)], draw: [(plot) => drawAlarms(plot, ink, wanted)] },
  };
}

/** A moment as short as the distance between two ticks allows, in UTC. */
function dated(stamp, step) {
  const text = new Date(stamp * 1000).toISOString();
  return step >= 86400 || text.endsWith("T00:00:00.000Z") ? text.slice(5, 10) : text.slice(11, 16);
}

function padded(low, high, bucket) {
  const room = bucket === "day" ? 43200 : 1800;
  return [low - room, high + room];
}

/** Shade every other version's time and name it at the top. */
function drawVersions(plot, ink) {
  const { ctx: pen, bbox } = plot;
  const moves = JSON.parse(place.dataset.moves);
  const at = (text) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, plot.valToPos(Date.parse(text) / 1000, "x", true)));
  pen.save();
  pen.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  moves.forEach((move, number) => {
    const left = at(move.at);
    const right = number + 1 < moves.length ? at(moves[number + 1].at) : bbox.left + bbox.width;
    if (right - left < 1) return;
    pen.fillStyle = number % 2 ? ink("accent-soft") : ink("faint");
    pen.globalAlpha = 0.55;
    pen.fillRect(left, bbox.top, right - left, bbox.height);
    pen.globalAlpha = 1;
    pen.fillStyle = ink("soft");
    if (right - left > 60 * devicePixelRatio) pen.fillText(`version ${move.version}`, left + 6 * devicePixelRatio, bbox.top + 5 * devicePixelRatio);
  });
  pen.restore();
}

/** A flag at the moment of each alarm about what is shown. */
function drawAlarms(plot, ink, { measure, class: label }) {
  const { ctx: pen, bbox } = plot;
  const shown = JSON.parse(place.dataset.alarms).filter((each) => each.measure === measure && (!label || each.class_label === label));
  const size = 6 * devicePixelRatio;
  pen.save();
  pen.fillStyle = pen.strokeStyle = ink("alarm");
  pen.lineWidth = devicePixelRatio;
  for (const each of shown) {
    const x = plot.valToPos(Date.parse(each.raised_at) / 1000, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    pen.beginPath();
    pen.moveTo(x, bbox.top + bbox.height);
    pen.lineTo(x, bbox.top + bbox.height - 4 * size);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(x, bbox.top + bbox.height - 4 * size);
    pen.lineTo(x + 1.6 * size, bbox.top + bbox.height - 3.3 * size);
    pen.lineTo(x, bbox.top + bbox.height - 2.6 * size);
    pen.fill();
  }
  pen.restore();
}
