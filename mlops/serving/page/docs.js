// Shows openapi.json: what can be asked, with what, and what is answered.

const about = await (await fetch("/openapi.json")).json();
document.getElementById("title").textContent = about.info.title;
document.getElementById("about").textContent = about.info.description;

const make = (name, text = "", ...below) => {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...below);
  return made;
};

function real(schema) {
  if (!schema?.$ref) return schema ?? {};
  return about.components.schemas[schema.$ref.split("/").at(-1)];
}

function kind(schema) {
  const found = real(schema);
  if (found.anyOf) return found.anyOf.map(kind).filter((one) => one !== "null").join(" or ");
  if (found.enum) return found.enum.join(", ");
  if (found.format === "binary") return "file";
  return found.title && found.properties ? found.title : found.type ?? "";
}

function table(properties) {
  const rows = Object.entries(properties).map(([name, schema]) => {
    const first = schema.default === undefined || schema.default === null ? "" : ` (${schema.default})`;
    return make("tr", "", make("td", name), make("td", kind(schema) + first),
      make("td", real(schema).description ?? schema.description ?? ""));
  });
  return make("table", "", ...rows);
}

function endpoint(method, path, what) {
  const head = make("code", "", make("b", method.toUpperCase()), ` ${path}`);
  const card = make("section", "", head, make("div", what.description ?? what.summary ?? ""));
  card.className = "endpoint";
  const query = (what.parameters ?? []).filter((one) => one.in === "query");
  if (query.length) card.append(table(Object.fromEntries(query.map((one) => [one.name, one.schema]))));
  for (const [type, { schema }] of Object.entries(what.requestBody?.content ?? {})) {
    card.append(make("div", `takes ${type}`));
    if (real(schema).properties) card.append(table(real(schema).properties));
  }
  for (const [status, answer] of Object.entries(what.responses)) {
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    if (Number(status) < 300) {
      card.append(make("div", `answers ${status} ${kind(schema)}`));
      if (real(schema).properties) card.append(table(real(schema).properties));
    }
  }
  return card;
}

const tags = new Map();
for (const [path, methods] of Object.entries(about.paths)) {
  for (const [method, what] of Object.entries(methods)) {
    const tag = what.tags?.[0] ?? "other";
    tags.set(tag, [...(tags.get(tag) ?? []), endpoint(method, path, what)]);
  }
}
for (const [tag, cards] of tags) {
  document.getElementById("endpoints").append(make("h2", tag[0].toUpperCase() + tag.slice(1)), ...cards);
}
