"use strict";
// The page: what a person asks for, and what they see. engine.js computes, words.js speaks.

const at = (id) => document.getElementById(id);
const content = JSON.parse(at("content").textContent);
let language = (navigator.language || "").startsWith("es") ? "es" : "en";
let model;
let worker;
const kept = new Map(); // favourites, by name

/** A phrase in the language that is chosen, with values for its {keys}. */
function say(key, values = {}) {
  const phrase = key.split(".").reduce((words, part) => words[part], WORDS[language]);
  return phrase.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const number = (value, digits = 0) =>
  value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (p) => (p < 0.005 ? "<1" : number(100 * p)) + " %";

/** An element with attributes, text and children; text is never read as markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "style") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A character as a person sees it. */
function shown(character, edge) {
  if (character === "") return say(edge);
  return /^\s+$/u.test(character) ? "␣" : character;
}

// ---- make names ----

const form = at("request");
let asked = null; // the request that is under way

function begin() {
  if (asked) return stop();
  const field = (name) => form.elements[name];
  const request = {
    prefix: field("prefix").value,
    category: Number(field("category").value || -1),
    temperature: Number(field("temperature").value),
    minLength: Number(field("minLength").value),
    maxLength: Number(field("maxLength").value),
    minDistance: Number(field("minDistance").value),
    seed: Number(field("seed").value),
    isNew: field("isNew").checked,
  };
  const count = Number(field("count").value);
  const generator = new Generator(model, request);
  if (generator.problem) {
    at("progress").textContent = say(generator.problem, { limit: generator.limit });
    return;
  }
  asked = { count, request, names: [], began: performance.now() };
  at("names").replaceChildren();
  at("found").hidden = false;
  at("command").textContent = commandFor(request, count);
  form.querySelector(".primary").textContent = say("stop");
  form.setAttribute("aria-busy", true);
  worker.postMessage({ request, count });
}

function stop() {
  worker.terminate();
  worker = startWorker();
  finish();
}

function finish() {
  const seconds = number((performance.now() - asked.began) / 1000, 1);
  const found = asked.names.length;
  const outcome = found === 0 ? "none" : found < asked.count ? "few" : "done";
  at("progress").textContent = say(outcome, { kept: number(found), seconds });
  at("found").hidden = found === 0;
  form.querySelector(".primary").textContent = say("write");
  form.setAttribute("aria-busy", false);
  form.elements.seed.value = asked.request.seed + 1; // the next press gives others
  last = asked.names;
  asked = null;
}

let last = [];

/** What the shell needs to write the same names. */
function commandFor(request, count) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = [`nomosaurus generate -n ${count} --seed ${request.seed}`];
  parts.push(`--temperature ${request.temperature}`);
  if (request.prefix) parts.push(`--prefix ${quoted(request.prefix)}`);
  if (request.category >= 0) parts.push(`--given ${quoted(content.categories[request.category])}`);
  if (request.minLength > 1) parts.push(`--min-length ${request.minLength}`);
  if (request.maxLength < content.max_length) parts.push(`--max-length ${request.maxLength}`);
  if (request.minDistance > 0) parts.push(`--min-distance ${request.minDistance}`);
  if (!request.isNew) parts.push("--no-new");
  return parts.join(" ");
}

/** A worker with the engine of its own, so that the page never waits. */
function startWorker() {
  const source = `${at("engine").textContent}
    let model;
    onmessage = ({ data }) => {
      if (data.content) { model = new Model(data.content); return; }
      let some = [];
      let told = performance.now();
      for (const name of new Generator(model, data.request).names(data.count)) {
        if (name) some.push({ ...name, nearest: model.nearest(name.ids) });
        if (performance.now() - told > 100) { postMessage({ some }); some = []; told = performance.now(); }
      }
      postMessage({ some, done: true });
    };`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const started = new Worker(address);
  URL.revokeObjectURL(address);
  started.postMessage({ content: model.content });
  started.onmessage = ({ data }) => {
    if (!asked) return;
    asked.names.push(...data.some);
    at("names").append(...data.some.map(nameItem));
    if (data.done) finish();
    else at("progress").textContent = say("working", { kept: number(asked.names.length), count: number(asked.count) });
  };
  return started;
}

function nameItem(name) {
  const text = element("span", { className: "text" }, element("span", { className: "name", textContent: name.written }));
  const values = { bits: number(name.bitsPerChar, 2), nearest: name.nearest?.name, edits: name.nearest?.distance };
  const facts = element("span", { className: "soft" });
  if (name.listed) facts.append(element("span", { className: "tag", textContent: say("listed") }), " · ");
  const near = name.nearest && !name.listed;
  facts.append(say(!near ? "factsAlone" : values.edits === 1 ? "factsOne" : "facts", values));
  text.append(facts);
  return element("li", {}, starFor(name), text);
}

function starFor(name) {
  const star = element("button", { type: "button", className: "star" });
  star.dataset.name = name.written;
  star.onclick = () => {
    if (!kept.delete(name.written)) kept.set(name.written, name);
    showKept();
  };
  paintStar(star);
  return star;
}

function paintStar(star) {
  const isKept = kept.has(star.dataset.name);
  star.textContent = isKept ? "★" : "☆";
  star.setAttribute("aria-pressed", isKept);
  star.setAttribute("aria-label", say("keep", { name: star.dataset.name }));
}

function showKept() {
  for (const star of document.querySelectorAll(".star")) paintStar(star);
  at("kept").hidden = kept.size === 0;
  at("to-kept").textContent = kept.size ? say("toKept", { n: kept.size }) : "";
  at("favourites").replaceChildren(
    ...[...kept.keys()].map((name) => {
      const button = element("button", { type: "button", textContent: `${name} ×` });
      button.setAttribute("aria-label", say("drop", { name }));
      button.onclick = () => {
        kept.delete(name);
        showKept();
      };
      return element("li", {}, button);
    }),
  );
}

async function copy(names) {
  try {
    await navigator.clipboard.writeText(names.map((name) => name.written).join("\n"));
    at("progress").textContent = say("copied");
  } catch {
    at("progress").textContent = say("notCopied");
  }
}

/** Download names as CSV; a cell that a spreadsheet would take for a formula is made text. */
function save(names) {
  const cell = (text) => `"${String(text).replace(/^[=+\-@\t]/u, "'$&").replaceAll('"', '""')}"`;
  const rows = names.map((n) => [cell(n.written), n.bitsPerChar.toFixed(4), cell(n.nearest?.name ?? ""), n.nearest?.distance ?? ""]);
  const text = [["name", "bits_per_char", "nearest", "distance"], ...rows].map((row) => row.join(",")).join("\r\n");
  const address = URL.createObjectURL(new Blob([`\ufeff${text}\r\n`], { type: "text/csv" }));
  element("a", { href: address, download: "names.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// ---- watch it remember ----

let steps = [];
let chosen = 0; // the step that is looked at closely
let term = 0;
let unit = null;
const studies = new Map(); // of each network, what its units have learnt

const network = () => {
  const i = Number(at("network").value);
  return i < 0 ? model.rnn : model.networks[i];
};

function studied() {
  if (!studies.has(network())) studies.set(network(), study(model, network()));
  return studies.get(network());
}

function look() {
  const name = model.normalise(at("name").value);
  const ids = model.encode(name);
  const tooLong = ids.length > content.max_length;
  at("verdict").textContent = "";
  if (!ids.length || tooLong) {
    at("verdict").textContent = say(tooLong ? "tooLong" : "blank", { limit: content.max_length });
    return;
  }
  steps = model.explain(name, network(), model.likeliest(name));
  chosen = Math.min(chosen, steps.length - 1);
  const strange = model.characters(name).filter((character) => !model.ids.has(character));
  const sum = (of) => number(steps.reduce((total, step) => total + of(step), 0), 1);
  const verdict = [
    say("verdict", {
      name: model.written(name),
      bits: sum((step) => step.bits),
      without: sum((step) => step.forgetful.bits),
      model: sum((step) => step.modelBits),
    }),
  ];
  const listed = model.knows(name);
  const nearest = model.nearest(ids);
  if (listed) verdict.push(say("verdictListed"));
  else if (nearest) verdict.push(say("verdictNew", { nearest: nearest.name }));
  if (strange.length) verdict.push(say("unknown", { letters: [...new Set(strange)].join(" ") }));
  at("verdict").textContent = verdict.join(" ");
  showSteps();
}

/** Of a step, what the switch says: with the memory, or without. */
const seen = (step) => (at("forget").checked ? { ...step, ...step.forgetful } : step);

/** The likeliest next characters. */
function likeliest(y, count) {
  const order = [...y.keys()].sort((a, b) => y[b] - y[a]).slice(0, count);
  return order.map((id) => ({ id, p: y[id], text: shown(id === 0 ? "" : content.characters[id - 1], "end") }));
}

const guesses = (y) => likeliest(y, 3).map(({ text, p }) => `${text} ${percent(p)}`).join(say("or"));

function showSteps() {
  const isLstm = network().cell === "lstm";
  const note = [say("unrolledNote")];
  if (isLstm) note.push(say("unrolledLstm"));
  if (at("forget").checked) note.push(say("forgetful", { andC: isLstm ? say("andC") : "" }));
  at("unrolled-note").textContent = note.join(" ");
  at("steps").replaceChildren(...steps.map((step, t) => stepColumn(seen(step), t)));
  showStep();
}

function stepColumn(step, t) {
  const column = element("button", { type: "button", className: "step" });
  const words = { t: t + 1, x: shown(step.x, "start"), target: shown(step.target, "end") };
  column.setAttribute("aria-label", say("stepLabel", { ...words, guesses: guesses(step.y), bits: number(step.bits, 1) }));
  const cost = element("span", { textContent: `${number(step.bits, 1)} bit`, className: at("forget").checked ? "up" : "" });
  column.append(element("span", { className: "came" }, element("span", { className: "letter", textContent: words.target }), cost));
  const chances = element("span", { className: "chances" });
  for (const { id, p, text } of likeliest(step.y, 4)) {
    const hit = (id === 0 ? "" : content.characters[id - 1]) === step.target;
    const row = element("span", { className: hit ? "hit" : "", style: `--p: ${100 * p}%` });
    row.append(element("span", { textContent: text }), element("span", { textContent: percent(p) }));
    chances.append(row);
  }
  const canvas = element("canvas");
  drawStrip(canvas, lastLayer(step.state), 8);
  canvas.onpointermove = (event) => pointAt(event, canvas);
  column.append(chances, canvas, element("span", { className: "x" }, "↑ ", element("span", { className: "letter", textContent: words.x })));
  column.onclick = () => {
    chosen = t;
    showStep();
  };
  return column;
}

const lastLayer = (state) => state[state.length - 1];

/** Blue below 0, white or black at 0, red above; -limit to limit. */
function colour(value, limit = 1) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const zero = dark ? [34, 40, 45] : [255, 255, 255];
  const ends = dark ? [[86, 156, 226], [240, 110, 90]] : [[33, 102, 172], [190, 30, 45]];
  const strength = Math.min(1, Math.abs(value) / limit);
  const end = ends[value < 0 ? 0 : 1];
  return zero.map((from, i) => Math.round(from + (end[i] - from) * strength));
}

/** All units of a, eight to a row, and an lstm's c beside it; each to the scale of its strongest in the name. */
function drawStrip(canvas, values, width) {
  const H = network().size;
  const parts = values.length / H;
  const height = Math.ceil(H / width);
  const gap = 1;
  canvas.width = parts * width + (parts - 1) * gap;
  canvas.height = height;
  canvas.style.aspectRatio = `${canvas.width} / ${height * 0.62}`;
  const context = canvas.getContext("2d");
  const all = steps.map((step) => lastLayer(step.state));
  const limits = [0, H].map((from) => Math.max(...all.flatMap((s) => [...s.slice(from, from + H)].map(Math.abs)), 0.1));
  for (let i = 0; i < values.length; i++) {
    const part = Math.floor(i / H);
    const [x, y] = [(i % H) % width, Math.floor((i % H) / width)];
    context.fillStyle = `rgb(${colour(values[i], limits[part])})`;
    context.fillRect(part * (width + gap) + x, y, 1, 1);
  }
}

function pointAt(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width) % 9;
  const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
  const found = y * 8 + x;
  if (x < 8 && found >= 0 && found < network().size && found !== unit) showUnit(found);
}

/** The compact view of one step, term by term. */
function showStep() {
  [...at("steps").children].forEach((column, t) => {
    if (t === chosen) column.setAttribute("aria-current", "step");
    else column.removeAttribute("aria-current");
  });
  const step = seen(steps[chosen]);
  at("closely").textContent = say("closely", { t: chosen + 1, x: shown(step.x, "start") });
  const terms = termsOf(step);
  term = Math.min(term, terms.length - 1);
  at("terms").replaceChildren(
    ...terms.map(({ key, values, limit }, i) => {
      const [math] = WORDS[language].terms[key];
      const why = say(`terms.${key}.1`, { x: shown(step.x, "start"), guesses: guesses(step.y) });
      const canvas = element("canvas", { width: Math.ceil(values.length / 4), height: 4 });
      canvas.setAttribute("aria-hidden", "true");
      const context = canvas.getContext("2d");
      values.forEach((value, j) => {
        context.fillStyle = `rgb(${colour(value, limit)})`;
        context.fillRect(Math.floor(j / 4), j % 4, 1, 1);
      });
      const item = element("li", {}, element("span", { className: "math", textContent: math }), canvas);
      item.append(element("span", { className: "why", textContent: why }));
      if (i === term) item.setAttribute("aria-current", "true");
      item.onclick = () => {
        term = i;
        showStep();
      };
      return item;
    }),
  );
  at("term-back").disabled = term === 0;
  at("term-next").disabled = term === terms.length - 1;
  at("step-next").disabled = chosen === steps.length - 1;
  showHolds(step);
}

/** What the equations of the last layer make of a step, in their order. */
function termsOf(step) {
  const { cell, size } = network();
  const { x, sum, recurrent, bias } = step.terms;
  const part = (values, i) => values.slice(i * size, (i + 1) * size);
  const previous = lastLayer(step.previous);
  const state = lastLayer(step.state);
  const limit = (values) => Math.max(1e-6, ...values.map(Math.abs));
  const list = [];
  const add = (key, values, most = 1) => list.push({ key, values: [...values], limit: most });
  if (network().layers.length === 1) {
    add("x", [0, ...content.characters].map((_, i) => (i === (step.x === "" ? 0 : model.ids.get(step.x)) ? 1 : 0)));
  }
  if (cell === "rnn") {
    const column = x.map((value, i) => value - bias[i]);
    const memory = sum.map((value, i) => value - x[i]);
    const most = limit([...column, ...memory, ...bias]);
    add("wx", column, most);
    add("previous", previous);
    add("wa", memory, most);
    add("b", bias, most);
    add("a", state);
  } else if (cell === "lstm") {
    const cells = limit([...previous.slice(size), ...state.slice(size)]);
    add("previous", part(previous, 0));
    add("previousC", part(previous, 1), cells);
    add("input", part(sum, 0).map(sigmoid));
    add("forget", part(sum, 1).map(sigmoid));
    add("cell", part(sum, 2).map(Math.tanh));
    add("c", part(state, 1), cells);
    add("output", part(sum, 3).map(sigmoid));
    add("aLstm", part(state, 0));
  } else {
    const reset = part(x, 0).map((value, j) => sigmoid(value + recurrent[j]));
    add("previous", previous);
    add("reset", reset);
    add("update", part(x, 1).map((value, j) => sigmoid(value + recurrent[size + j])));
    add("new", part(x, 2).map((value, j) => Math.tanh(value + reset[j] * recurrent[2 * size + j])));
    add("aGru", state);
  }
  add("scores", step.logits, limit(step.logits));
  add("y", step.y);
  return list;
}

/** What the memory holds after a step, and what would be lost without it. */
function showHolds(step) {
  const box = at("holds");
  const soFar = steps.slice(1, chosen + 1).map(({ x }) => x).join("");
  const H = network().size;
  const { units } = studied();
  const state = lastLayer(step.state);
  const telling = units
    .filter(({ r }) => Math.abs(r) > 0.3)
    .map((u) => ({ ...u, off: Math.abs(state[u.unit] - u.mean) * Math.abs(u.r) }))
    .sort((a, b) => b.off - a.off)
    .slice(0, 5);
  const head = (...cells) => element("thead", {}, element("tr", {}, ...cells.map((text) => element("th", { scope: "col", textContent: text }))));
  const rows = telling.map((u) => {
    const name = element("button", { type: "button", textContent: String(u.unit) });
    name.onclick = () => showUnit(u.unit);
    const value = `${number(state[u.unit], 2)} (${number(u.mean, 2)})`;
    const agrees = (state[u.unit] - u.mean) * u.r > 0;
    const says = say(agrees ? "asIf" : "asIfNot", { feature: featureOf(u) });
    return element("tr", {}, element("td", {}, name), element("td", { textContent: value }), element("td", { textContent: says }));
  });
  const title = soFar ? say("holds", { so_far: soFar }) : say("holdsStart");
  box.replaceChildren(
    element("h3", { textContent: title }),
    element("p", { className: "note", textContent: say("holdsText") }),
    element("table", {}, head(say("unit"), say("value"), say("follows")), element("tbody", {}, ...rows)),
    element("h3", { textContent: say("lost") }),
  );
  const original = steps[chosen];
  const id = original.target === "" ? 0 : model.ids.get(original.target);
  const words = { x: shown(step.x, "start"), target: shown(step.target, "end") };
  let lost;
  if (chosen === 0) lost = say("lostStart");
  else if (id === undefined) lost = say("lostUnknown");
  else {
    const { forgetful } = original;
    lost = say("lostText", {
      ...words,
      chance: percent(original.y[id]),
      without: percent(forgetful.y[id]),
      bits: number(forgetful.bits, 1),
      with: number(original.bits, 1),
    });
  }
  box.append(element("p", { textContent: lost }));
  if (chosen > 0) {
    const both = likeliest(original.y.map((p, i) => Math.max(p, original.forgetful.y[i])), 5);
    const chance = (p, which) => element("td", { className: "chances" }, element("span", { style: `--p: ${100 * p}%`, className: which, textContent: percent(p) }));
    const compared = both.map(({ id: i, text }) =>
      element("tr", {}, element("th", { scope: "row", textContent: text }), chance(original.y[i], ""), chance(original.forgetful.y[i], "")),
    );
    box.append(element("table", {}, head(say("expects"), say("withMemory"), say("withoutMemory")), element("tbody", {}, ...compared)));
  }
  if (unit !== null && unit >= H) unit = null;
}

// ---- the units ----

/** What a unit follows, in words. */
function featureOf({ feature }) {
  const kind = feature.slice(0, feature.indexOf(":") + 1);
  const text = feature.slice(kind.length).replaceAll(" ", "␣");
  return say(kind, { text });
}

function showUnits() {
  const telling = studied().units.slice(0, 12);
  at("units").replaceChildren(
    ...telling.map((u) => {
      const button = element("button", { type: "button", textContent: `${u.unit}: ${moves(u)}` });
      button.dataset.unit = u.unit;
      button.onclick = () => showUnit(u.unit);
      return button;
    }),
  );
  showUnit(telling[0].unit);
}

const moves = (u) => say(u.r < 0 ? "falls" : "rises", { feature: featureOf(u) });

/** Where a unit fires: names of the list, each letter in the colour of the unit after reading it. */
function showUnit(number_) {
  unit = number_;
  for (const button of at("units").children) button.setAttribute("aria-pressed", Number(button.dataset.unit) === unit);
  const { texts, events, rows, units } = studied();
  const found = units.find((u) => u.unit === unit);
  const of = texts.map(() => ({ values: [], most: 0 }));
  events.forEach(({ name, at: place }, e) => {
    const value = rows[e][unit];
    of[name].values[place] = value;
    of[name].most = Math.max(of[name].most, Math.abs(value - found.mean));
  });
  const best = of.map((o, i) => ({ ...o, i })).sort((a, b) => b.most - a.most).slice(0, 12);
  const items = best.map(({ i, values }) => {
    const letters = texts[i].map((letter, place) => {
      const value = values[place + 1];
      const [red, green, blue] = colour(value);
      const light = red * 0.3 + green * 0.59 + blue * 0.11 > 130;
      return element("i", { style: `background: rgb(${red} ${green} ${blue}); color: ${light ? "#111" : "#fff"}`, textContent: shown(letter, "start") });
    });
    return element("li", {}, ...letters);
  });
  const title = say("unitTitle", { unit, moves: moves(found) });
  at("unit").replaceChildren(
    element("p", { textContent: `${title} (${say("correlation", { r: number(found.r, 2) })})` }),
    element("ul", { className: "tinted" }, ...items),
  );
}

// ---- watch it learn ----

function showLearning() {
  at("early").replaceChildren(
    ...content.early.map(([epoch, names]) => {
      const few = element("span", { className: "few" }, ...names.map((name) => element("span", { textContent: name || say("nothing") })));
      return element("li", {}, element("span", { className: "soft", textContent: say("epoch", { n: epoch }) }), few);
    }),
  );
  const mean = (side) => {
    const longest = Math.max(...content.losses.model.map((history) => history.length));
    return Array.from({ length: longest }, (_, e) => {
      const values = content.losses.model.filter((history) => history.length > e).map((history) => history[e][side]);
      return values.reduce((a, b) => a + b) / values.length;
    });
  };
  const { cell } = content.networks[0];
  const rnn = (side) => content.losses.rnn.map((epoch) => epoch[side]);
  const lines = [
    { label: "rnn", style: "second", y: rnn(1) },
    { label: "", style: "second faint", y: rnn(0) },
    { label: say("modelLine", { cell }), style: "first", y: mean(1) },
    { label: "", style: "first faint", y: mean(0) },
  ];
  at("losses").replaceChildren(chart(lines, { first: 1, x: say("epochs"), y: say("nats"), title: say("losses") }));
  const reach = Object.entries(content.reach);
  const reachLines = reach.map(([of, y]) => ({ label: of, style: of === "rnn" ? "second" : "first", y }));
  at("reach").replaceChildren(chart(reachLines, { first: 0, x: say("steps"), y: say("gradient"), log: true, title: say("reach") }));
  const farthest = reach[0][1].length - 1;
  const percents = reach.map(([of, y]) => say("percentOf", { percent: percent(y[farthest] / y[0]), cell: of }));
  at("reach-text").textContent = say("reachText", { n: farthest, percents: percents.join(` ${say("and")} `) });
}

/** Lines over 0, 1, 2, …: an SVG with axes, each line with its name at its end. */
function chart(lines, { first, x, y, log = false, title }) {
  const [width, height, left, bottom, right, top] = [560, 300, 52, 40, 92, 24];
  const make = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const scale = log ? Math.log10 : (v) => v;
  const all = lines.flatMap((line) => line.y).map(scale);
  const low = log ? Math.floor(Math.min(...all)) : Math.floor(Math.min(...all) * 2) / 2;
  const high = log ? Math.ceil(Math.max(...all)) : Math.ceil(Math.max(...all) * 2) / 2;
  const most = Math.max(...lines.map((line) => line.y.length - 1), 1);
  const px = (i) => left + (i / most) * (width - left - right);
  const py = (v) => height - bottom - ((v - low) / (high - low || 1)) * (height - bottom - top);
  const tick = log ? 1 : high - low > 2 ? 1 : 0.5;
  for (let v = low; v <= high + 1e-9; v += tick) {
    svg.append(make("path", { class: "grid", d: `M${left} ${py(v)}H${width - right}`, "stroke-width": 1 }));
    const label = log ? number(10 ** v, Math.max(0, -Math.round(v))) : number(v, 1);
    svg.append(make("text", { x: left - 8, y: py(v) + 4, "text-anchor": "end" }, label));
  }
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => most / size <= 6) ?? most;
  for (let i = 0; i <= most; i += every) {
    svg.append(make("text", { x: px(i), y: height - bottom + 18, "text-anchor": "middle" }, number(i + (i === 0 ? first : 0))));
  }
  svg.append(make("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, x));
  svg.append(make("text", { x: 4, y: 14 }, y));
  const used = [];
  for (const line of lines) {
    const points = line.y.map((value, i) => `${px(i).toFixed(1)} ${py(scale(value)).toFixed(1)}`);
    svg.append(make("path", { class: line.style, d: `M${points.join("L")}` }));
    if (!line.label) continue;
    const end = line.y.length - 1;
    let place = py(scale(line.y[end]));
    while (used.some((other) => Math.abs(other - place) < 14)) place += 4;
    used.push(place);
    svg.append(make("text", { class: line.style, x: px(end) + 6, y: place + 4 }, line.label));
  }
  return svg;
}

// ---- all of it ----

function speak() {
  document.documentElement.lang = language;
  for (const spoken of document.querySelectorAll("[data-w]")) spoken.textContent = say(spoken.dataset.w);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", button.dataset.language === language);
  }
  const { names, rounding } = content;
  at("eyebrow").textContent = say("eyebrow", { names: number(names.length), file: content.file });
  at("nav").setAttribute("aria-label", content.title);
  at("steps").setAttribute("aria-label", say("unrolled"));
  at("about-text").textContent = say("aboutText", {
    networks: number(content.networks.length),
    names: number(names.length),
    bits: content.bits,
    most: number(rounding.most, 4),
    checked: number(rounding.names),
  });
  const category = form.elements.category;
  const before = category.value;
  category.replaceChildren(
    element("option", { value: "-1", textContent: say("anyCategory") }),
    ...content.categories.map((name, i) => element("option", { value: String(i), textContent: name })),
  );
  category.value = before || "-1";
  at("category").hidden = content.categories.length === 0;
  const networkBefore = at("network").value;
  at("network").replaceChildren(
    ...content.networks.map((form_, i) =>
      element("option", { value: String(i), textContent: say("theirs", { n: i + 1, cell: form_.cell, units: form_.hidden_size }) }),
    ),
    element("option", { value: "-1", textContent: say("article", { units: content.rnn.hidden_size }) }),
  );
  at("network").value = networkBefore || "0";
  showTemperature();
  at("examples").replaceChildren(say("tryThese"), " ");
  for (const name of content.examples) {
    const button = element("button", { type: "button", textContent: model.written(name) });
    button.onclick = () => {
      at("name").value = name;
      look();
    };
    at("examples").append(button, " ");
  }
  at("names").replaceChildren(...last.map(nameItem));
  if (!asked) at("progress").textContent = "";
  showKept();
  look();
  showUnits();
  showLearning();
}

function showTemperature() {
  at("heat").textContent = number(Number(form.elements.temperature.value), 1);
}

async function start() {
  const read = await unpack(content, at("weights").textContent.trim());
  content.names = read.names;
  model = new Model({ ...read });
  worker = startWorker();
  const fields = form.elements;
  fields.temperature.value = content.temperature;
  fields.maxLength.value = content.max_length;
  fields.maxLength.max = content.max_length;
  fields.minLength.max = content.max_length;
  at("name").value = content.examples[0];
  chosen = Math.min(4, model.encode(content.examples[0]).length);
  form.onsubmit = (event) => {
    event.preventDefault();
    begin();
  };
  fields.temperature.oninput = showTemperature;
  at("copy-all").onclick = () => copy(last);
  at("save-all").onclick = () => save(last);
  at("copy-kept").onclick = () => copy([...kept.values()]);
  at("save-kept").onclick = () => save([...kept.values()]);
  at("drop-kept").onclick = () => {
    kept.clear();
    showKept();
  };
  at("name").oninput = look;
  at("network").onchange = () => {
    look();
    showUnits();
  };
  at("forget").onchange = showSteps;
  at("term-back").onclick = () => {
    term -= 1;
    showStep();
  };
  at("term-next").onclick = () => {
    term += 1;
    showStep();
  };
  at("step-next").onclick = () => {
    chosen += 1;
    term = 0;
    showStep();
    at("steps").children[chosen].scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  for (const button of document.querySelectorAll("[data-language]")) {
    button.onclick = () => {
      language = button.dataset.language;
      speak();
    };
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", speak);
  speak();
  document.body.dataset.ready = "true";
}

start();
