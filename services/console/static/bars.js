// Classes with their probabilities as rows of a table.

export function bar({ label, probability }, explained) {
  const row = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row", textContent: label });
  const track = Object.assign(document.createElement("td"), { className: "track" });
  const fill = Object.assign(document.createElement("span"), { className: "fill" });
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  const number = Object.assign(document.createElement("td"), { className: "number", textContent: percent(probability) });
  row.append(name, track, number);
  if (explained) row.className = "explained";
  return row;
}

export function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}
