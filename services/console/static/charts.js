// What all charts share: colours of the page, axes in UTC, bands of versions, flags of alarms.

export const HEIGHT = 240;

/** A colour of the page by its name. */
export function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function seconds(text) {
  return Date.parse(text) / 1000;
}

/** Ask the server, leaving out what is undefined; what is refused becomes an error with its words. */
export async function asked(address, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const reply = await fetch(`${address}?${new URLSearchParams(given)}`);
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.detail);
  return found;
}

/** One chart in a place: made anew when it is shown, as wide as its place. */
export class Chart {
  constructor(place) {
    Object.assign(this, { place, plot: null });
    new ResizeObserver(() => this.plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
  }

  show(options, rows) {
    this.clear();
    this.plot = new uPlot({ width: this.place.clientWidth, height: HEIGHT, ...options }, rows, this.place);
  }

  clear() {
    this.plot?.destroy();
    this.plot = null;
    this.place.replaceChildren();
  }
}

export function axis() {
  return { stroke: ink("soft"), grid: { stroke: ink("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
}

/** Options of a chart whose horizontal axis is time in UTC; `splits` says where the other has ticks. */
export function overTime(labels, splits) {
  const dated = (_, all, __, ___, step) => all.map((stamp) => moment(stamp, step));
  return {
    tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), "Etc/UTC"),
    axes: [{ ...axis(), grid: { show: false }, values: dated, space: 60 }, { ...axis(), size: 44, values: labels, ...(splits ? { splits, filter: (_, all) => all } : {}) }],
  };
}

/** A moment as short as the distance between two ticks allows. */
function moment(stamp, step) {
  const text = new Date(stamp * 1000).toISOString();
  return step >= 86400 || text.endsWith("T00:00:00.000Z") ? text.slice(5, 10) : text.slice(11, 16);
}

/** Shade every other version's time and name it at the top; moves are {at, version}, oldest first. */
export function drawVersions(plot, moves) {
  const { ctx: pen, bbox } = plot;
  const at = (text) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, plot.valToPos(seconds(text), "x", true)));
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

/** A flag at each moment (ISO 8601), at the foot of the chart. */
export function drawFlags(plot, moments) {
  const { ctx: pen, bbox } = plot;
  const size = 6 * devicePixelRatio;
  const foot = bbox.top + bbox.height;
  pen.save();
  pen.fillStyle = pen.strokeStyle = ink("alarm");
  pen.lineWidth = devicePixelRatio;
  for (const each of moments) {
    const x = plot.valToPos(seconds(each), "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    pen.beginPath();
    pen.moveTo(x, foot);
    pen.lineTo(x, foot - 4 * size);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(x, foot - 4 * size);
    pen.lineTo(x + 1.6 * size, foot - 3.3 * size);
    pen.lineTo(x, foot - 2.6 * size);
    pen.fill();
  }
  pen.restore();
}
