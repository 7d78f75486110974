const element = (name, text, parent) => {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
};
const typeOf = (schema) =>
  schema.enum?.join(" | ") ?? schema.anyOf?.map(typeOf).join(" | ") ?? schema.type ?? "";
fetch("openapi.json").then((answer) => answer.json()).then((api) => {
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description;
  const paths = document.getElementById("paths");
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const heading = element("h2", `${method.toUpperCase()} `, paths);
      element("a", path, heading).href = path.slice(1);
      element("div", operation.description ?? "", paths);
      const parameters = operation.parameters ?? [];
      if (parameters.length === 0) continue;
      const table = element("table", "", paths);
      const head = element("tr", "", table);
      for (const name of ["parameter", "values", "default"]) element("th", name, head);
      for (const { name, schema } of parameters) {
        const row = element("tr", "", table);
        for (const text of [name, typeOf(schema), schema.default ?? ""]) element("td", text, row);
      }
    }
  }
});
