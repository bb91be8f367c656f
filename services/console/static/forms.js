// Forms with `data-json` send their fields as JSON and say what came of it; the page follows.

const NAME = "rightly-name"; // who decides, kept in this browser only

for (const form of document.querySelectorAll("form[data-json]")) {
  const actor = form.elements.actor;
  if (actor && !actor.value) actor.value = localStorage.getItem(NAME) || "";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

async function send(form) {
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
    const reply = await fetch(form.action, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(values(form)),
    });
    if (!reply.ok) throw new Error((await reply.json()).detail);
    say("Done.");
    await settled(form);
    location.assign(form.dataset.next || location.pathname + location.search.replace(/[?&]version=\d+/, ""));
  } catch (error) {
    say(error.message, true);
    button.disabled = false;
  }
}

function values(form) {
  const found = {};
  for (const field of form.elements) {
    if (field.name) found[field.name] = "number" in field.dataset ? Number(field.value) : field.value;
  }
  return found;
}

/** What is written down shows as soon as the auditor has taken it: wait for that, a little. */
async function settled(form) {
  const { watch, until } = form.dataset;
  for (let turn = 0; watch && turn < 20; turn += 1) {
    await new Promise((done) => setTimeout(done, 250));
    const { items } = await (await fetch(watch)).json();
    if (!items.some((item) => item.alarm_id === until)) return;
  }
}
