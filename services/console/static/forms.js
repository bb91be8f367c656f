// Forms with `data-json` send their fields as JSON and say what came of it; the page follows.
import { send } from "./send.js";

export { send };
const NAME = "rightly-name"; // who decides, kept in this browser only

/** Make the forms below a node send JSON, and its buttons open and close their dialogs. */
export function wire(node) {
  for (const form of node.querySelectorAll("form[data-json]")) {
    if (form.dataset.json) continue; // wired already: a page may hold this module by two addresses
    form.dataset.json = "wired";
    const actor = form.elements.actor;
    if (actor && !actor.value) actor.value = localStorage.getItem(NAME) || "";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit(form);
    });
  }
  for (const button of node.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.opens).showModal());
  }
  for (const button of node.querySelectorAll("[data-closes]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}

wire(document);

async function submit(form) {
  const button = form.querySelector("button");
  const status = form.querySelector("[role=status]");
  const say = (text, wrong) => {
    status.textContent = text;
    status.classList.toggle("wrong", Boolean(wrong));
  };
  button.disabled = true;
  say("Sending…");
  try {
    if (form.elements.actor) localStorage.setItem(NAME, form.elements.actor.value);
    const answer = await asked(form);
    say("Done.");
    await settled(form);
    location.assign(next(form, answer));
  } catch (error) {
    say(error.message, true);
    button.disabled = false;
  }
}

/** Send a form's fields: as JSON, or with DELETE, which has no body, in the address. */
function asked(form) {
  const method = form.dataset.method || "POST";
  const address = form.getAttribute("action"); // a field may be called action
  if (method === "DELETE") return send(method, `${address}?${new URLSearchParams(values(form))}`);
  return send(method, address, values(form));
}

/** Where to go on: as the form says, with names in braces taken from the answer; else here. */
function next(form, answer) {
  const named = form.dataset.next?.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name]));
  return named || location.pathname + location.search.replace(/[?&]version=\d+/, "");
}

function values(form) {
  const found = {};
  for (const field of form.elements) {
    if (field.name && !(field.type === "radio" && !field.checked)) found[field.name] = "number" in field.dataset ? Number(field.value) : "boolean" in field.dataset ? field.value === "true" : field.value;
  }
  return found;
}

/** What is written down shows as soon as the auditor has taken it: wait for that, a little. */
async function settled(form) {
  const { watch, until, named = "alarm_id" } = form.dataset;
  for (let turn = 0; watch && turn < 20; turn += 1) {
    await new Promise((done) => setTimeout(done, 250));
    const { items } = await (await fetch(watch)).json();
    if (!items.some((item) => item[named] === until)) return;
  }
}
