"use strict";
// Draws /openapi.json as tables. Text enters by textContent only, so nothing in the document can become markup.

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function resolved(schema, whole) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.slice(2).split("/").reduce((node, key) => node[key], whole);
}

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.type === "array") return "list of " + (kind(schema.items) || "values");
  if (schema.contentMediaType) return "file";
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
}

function limits(schema) {
  const words = { minimum: "from", maximum: "to", minLength: "at least", maxLength: "at most", default: "default" };
  return Object.entries(words)
    .filter(([key]) => schema[key] !== undefined && schema[key] !== null)
    .map(([key, word]) => `${word} ${schema[key]}${key.endsWith("Length") ? " characters" : ""}`)
    .join(", ");
}

function table(caption, rows) {
  const made = element("table");
  made.append(element("caption", caption));
  const head = made.createTHead().insertRow();
  for (const title of ["Name", "Kind", "Meaning"]) head.append(element("th", title, { scope: "col" }));
  const body = made.createTBody();
  for (const [name, type, meaning] of rows) {
    const row = body.insertRow();
    row.append(element("th", name, { scope: "row" }), element("td", type), element("td", meaning));
  }
  return made;
}

function fields(schema) {
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).map(([name, field]) => [
    name,
    kind(field),
    [required.has(name) ? "Required." : "", field.description || "", limits(field)].filter(Boolean).join(" "),
  ]);
}

function operation(path, verb, entry, whole) {
  const part = element("section", "", { id: `${verb}-${path}` });
  const title = element("h3");
  title.append(element("span", verb.toUpperCase(), { class: "verb" }), element("code", path));
  part.append(title, element("p", entry.summary), element("p", entry.description, { class: "soft" }));
  if (entry.parameters) {
    part.append(table("Parameters", entry.parameters.map((each) => [
      each.name,
      `${kind(each.schema)}, in ${each.in}`,
      [each.description || "", limits(each.schema)].filter(Boolean).join(" "),
    ])));
  }
  for (const [type, body] of Object.entries((entry.requestBody || {}).content || {})) {
    part.append(table(`Body as ${type}`, fields(resolved(body.schema, whole))));
  }
  part.append(table("Answers", Object.entries(entry.responses).map(([status, each]) => {
    const content = Object.entries(each.content || {}).map(([type, body]) => `${kind(body.schema)} as ${type}`);
    return [status, content.join(", "), each.description];
  })));
  return part;
}

function draw(whole) {
  const list = element("ul");
  const reference = document.getElementById("reference");
  reference.replaceChildren(element("h2", "Routes"));
  for (const [path, verbs] of Object.entries(whole.paths)) {
    for (const [verb, entry] of Object.entries(verbs)) {
      const item = element("li");
      const link = element("a", "", { href: `#${verb}-${path}` });
      link.append(element("span", verb.toUpperCase(), { class: "verb" }), element("code", path));
      item.append(link);
      list.append(item);
      reference.append(operation(path, verb, entry, whole));
    }
  }
  reference.append(element("h2", "Types"));
  for (const [name, schema] of Object.entries(whole.components.schemas)) {
    const part = element("section", "", { id: name });
    part.append(element("h3", name), element("p", schema.description, { class: "soft" }), table("Fields", fields(schema)));
    reference.append(part);
  }
  document.getElementById("contents").replaceChildren(list);
}

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then(draw)
  .catch((error) => {
    document.getElementById("reference").replaceChildren(element("p", `The reference cannot be drawn: ${error.message}`));
  });
