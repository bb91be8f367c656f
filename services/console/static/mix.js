// Whether the mix of decided classes has changed, in a sentence under the table of classes.
import { asked } from "./charts.js";

const place = document.getElementById("mixed");
const WORDS = { steady: "The mix of classes is what it was", changing: "The mix of classes may be changing", changed: "The mix of classes has changed" };

if (place) tell();

async function tell() {
  try {
    const { verdict, reference } = await asked(place.dataset.address, { version: place.dataset.version });
    if (verdict.state === "unwatched") {
      place.textContent = `Whether the mix of classes changes is not watched yet: ${verdict.reason}.`;
      return;
    }
    const since = verdict.changed_at ? ` since ${verdict.changed_at.slice(0, 10)}` : "";
    const origin = reference.origin === "card" ? "the set that the version was measured on" : "its first answers";
    const write = (value) => Number(value.toPrecision(3)).toLocaleString("en");
    place.textContent = `${WORDS[verdict.state]}${since}, compared with ${origin}: evidence ${write(verdict.statistic)} of ${write(verdict.threshold)} after ${verdict.observations} answers. It raises no alarm by itself.`;
  } catch (error) {
    place.textContent = error.message;
  }
}
