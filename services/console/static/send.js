// The one way in which pages change something: with the session's token, and with words when refused.

const token = document.querySelector("meta[name=csrf]")?.content;

/** Send a change; `body` is a form's data or becomes JSON. Gives what was answered, null for nothing. */
export async function send(method, path, body) {
  const headers = token ? { "x-csrf-token": token } : {};
  const whole = body === undefined || body instanceof FormData;
  if (!whole) headers["content-type"] = "application/json";
  const reply = await fetch(path, { method, headers, body: whole ? body : JSON.stringify(body) });
  if (reply.status === 401) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    throw new Error("Sign in again.");
  }
  const text = await reply.text();
  const said = text ? JSON.parse(text) : null;
  if (!reply.ok) throw new Error(said?.detail ?? reply.statusText);
  return said;
}
