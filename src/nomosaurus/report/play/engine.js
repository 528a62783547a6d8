"use strict";
// The model in the browser: networks, n-gram and mixture; drawing, scoring, explaining.
// It computes what nomosaurus.model and nomosaurus.generation do, in the same order, from weights
// rounded to a few bits. It knows no page: it also runs in a worker.
//
// V vocabulary, H hidden, G gates of the cell, C categories, K order of the n-gram,
// n rows that are computed together

const BOUNDARY = 0;
const GATES = { rnn: 1, gru: 3, lstm: 4 };
const VOWELS = /^[aeiouyáéíóúàèìòùâêîôûäëïöüæøåаеёиоуыэюяαεηιουω]/iu;

// ---- the file ----

/** Decode what pack() in play.py wrote: of each matrix a scale a row, then whole numbers. */
async function unpack(content, encoded) {
  const packed = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const rows = content.tensors.reduce((sum, [, height]) => sum + height, 0);
  const cells = content.tensors.reduce((sum, [, height, width]) => sum + height * width, 0);
  const scales = new Float32Array(buffer, 0, rows);
  const low = new Uint8Array(buffer, 4 * rows, cells);
  const high = content.bits > 8 ? new Int8Array(buffer, 4 * rows + cells, cells) : null;
  const end = 4 * rows + cells * (high ? 2 : 1);
  const tensors = {};
  let row = 0;
  let cell = 0;
  for (const [name, height, width] of content.tensors) {
    const values = new Float32Array(height * width);
    for (let i = 0; i < values.length; i++, cell++) {
      const whole = high ? high[cell] * 256 + low[cell] : (low[cell] << 24) >> 24;
      values[i] = whole * scales[row + Math.floor(i / width)];
    }
    row += height;
    tensors[name] = values;
  }
  const ids = new Uint16Array(buffer.slice(end));
  return { ...content, values: tensors, names: split(ids) };
}

/** Names that follow each other, each behind a boundary. */
function split(ids) {
  const names = [];
  for (const id of ids) {
    if (id === BOUNDARY) names.push([]);
    else names[names.length - 1].push(id);
  }
  return names;
}

// ---- the networks ----

/**
 * The product of a matrix with four vectors, as WebAssembly with vectors of four floats: ten times
 * as fast as the plain loop, which stands beside it for browsers without. In WebAssembly
 * there is no source to read, so here are its instructions, a line each.
 *
 * Parameters: where the matrix begins, its rows (a multiple of 4), the bytes of a row, where the
 * vectors begin (the four values at a place side by side), where the products go, laid out alike.
 */
function kernel() {
  const [w, rows, bytes, x, out, p, q, end, a, b, c, d, v] = Array.from({ length: 13 }, (_, i) => i);
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const number = (value) => [0x41, value];
  const plus = 0x6a;
  const move = (local, by) => [get(local), number(by), plus, set(local)];
  const loop = [0x03, 0x40];
  const zero = (local) => [0xfd, 0x0c, Array(16).fill(0), set(local)];
  const row = (local, times) => [
    get(local), get(p), Array(times).fill([get(bytes), plus]),
    [0xfd, 0x09, 2, 0], // v128.load32_splat: the weight, four times
    get(v), [0xfd, 0xe6, 0x01], [0xfd, 0xe4, 0x01], set(local), // f32x4.mul, f32x4.add
  ];
  const store = (local, at) => [get(out), get(local), [0xfd, 0x0b, 2, at]];
  const body = [
    [2, 3, 0x7f, 5, 0x7b], // more locals: three addresses, five vectors
    loop,
    zero(a), zero(b), zero(c), zero(d),
    get(w), set(p), get(x), set(q), get(w), get(bytes), plus, set(end),
    loop,
    get(q), [0xfd, 0x00, 2, 0], set(v), // v128.load
    row(a, 0), row(b, 1), row(c, 2), row(d, 3),
    move(p, 4), move(q, 16),
    get(p), get(end), 0x49, [0x0d, 0], 0x0b, // again while p < end
    store(a, 0), store(b, 16), store(c, 32), store(d, 48),
    get(w), get(bytes), number(2), 0x74, plus, set(w), // the next four rows
    get(out), [0x41, 0xc0, 0x00], plus, set(out),
    move(rows, 0x7c), // -4
    get(rows), [0x0d, 0], 0x0b,
    0x0b,
  ].flat(Infinity);
  const section = (id, content) => [id, ...size(content.length), ...content];
  const size = (n) => (n < 128 ? [n] : [(n & 127) | 128, n >> 7]);
  const text = (word) => [word.length, ...[...word].map((letter) => letter.charCodeAt(0))];
  const module = Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0]), // five numbers, no result
    ...section(2, [1, ...text("js"), ...text("memory"), 2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("multiply"), 0, 0]),
    ...section(10, [1, ...size(body.length), ...body]),
  ]);
  try {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const compiled = new WebAssembly.Module(module);
    const { exports } = new WebAssembly.Instance(compiled, { js: { memory } });
    return { memory, used: 0, multiply: exports.multiply };
  } catch {
    return null;
  }
}

const FAST = kernel();

/** A matrix of shape (R, H), to multiply with. */
class Matrix {
  constructor(values, R, H, fast = FAST) {
    Object.assign(this, { values, R, H, fast });
    if (!fast) return;
    this.padded = Math.ceil(R / 4) * 4;
    const floats = this.padded * H + 4 * H + 4 * this.padded;
    this.at = fast.used; // the matrix, then four vectors, then four products
    fast.used += Math.ceil(floats / 4) * 16;
    const lacking = fast.used - fast.memory.buffer.byteLength;
    if (lacking > 0) fast.memory.grow(Math.ceil(lacking / 65536));
    new Float32Array(fast.memory.buffer, this.at, R * H).set(values);
  }

  /** Add the product with each of n vectors x, of H values, to n times R values of out. */
  multiply(x, n, out) {
    if (this.fast) this.#multiplyFast(x, n, out);
    else this.#multiplyPlain(x, n, out);
  }

  #multiplyFast(x, n, out) {
    const { R, H, padded, at, fast } = this;
    const vectors = new Float32Array(fast.memory.buffer, at + 4 * padded * H, 4 * H);
    const products = new Float32Array(fast.memory.buffer, vectors.byteOffset + 16 * H, 4 * padded);
    for (let r = 0; r < n; r += 4) {
      const few = Math.min(4, n - r);
      for (let k = 0; k < few; k++) for (let j = 0; j < H; j++) vectors[4 * j + k] = x[(r + k) * H + j];
      fast.multiply(at, padded, 4 * H, vectors.byteOffset, products.byteOffset);
      for (let k = 0; k < few; k++) for (let i = 0; i < R; i++) out[(r + k) * R + i] += products[4 * i + k];
    }
  }

  #multiplyPlain(x, n, out) {
    const { values, R, H } = this;
    for (let r = 0; r < n; r++) {
      for (let i = 0; i < R; i++) {
        let sum = 0;
        for (let j = 0, w = i * H, p = r * H; j < H; j++) sum += values[w++] * x[p++];
        out[r * R + i] += sum;
      }
    }
  }
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

class Network {
  constructor(content, form, prefix) {
    const { cell, hidden_size, num_layers } = form;
    Object.assign(this, { cell, size: hidden_size, vocab: content.characters.length + 1 });
    const value = (name) => content.values[`${prefix}.${name}`];
    this.layers = Array.from({ length: num_layers }, (_, i) => {
      const layer = {};
      for (const name of ["W_ax", "W_aa", "W_ac", "b_a"]) layer[name] = value(`layers.${i}.${name}`);
      layer.fromBefore = new Matrix(layer.W_aa, layer.b_a.length, hidden_size);
      if (i > 0) layer.fromBelow = new Matrix(layer.W_ax, layer.b_a.length, hidden_size);
      return layer;
    });
    this.W_ya = value("W_ya");
    this.out = new Matrix(this.W_ya, this.vocab, hidden_size);
    this.b_y = value("b_y");
    this.parts = cell === "lstm" ? 2 : 1;
    this.gates = GATES[cell];
  }

  /** a_0 of one row: for each layer, zeros; an lstm has its cell c behind a. */
  initial() {
    return this.layers.map(() => new Float32Array(this.parts * this.size));
  }

  /** W_ax x_t + W_ac c + b_a of the first layer, for the id of x_t; V, the unknown, is no column. */
  projected(id, category) {
    const { W_ax, W_ac, b_a } = this.layers[0];
    const rows = b_a.length;
    const out = Float32Array.from(b_a);
    if (id < this.vocab) for (let i = 0; i < rows; i++) out[i] += W_ax[i * this.vocab + id];
    const categories = W_ac ? W_ac.length / rows : 0;
    if (category < categories) for (let i = 0; i < rows; i++) out[i] += W_ac[i * categories + category];
    return out;
  }

  /**
   * One time step of several rows.
   * ids, categories: of each row; states: of each row, as initial() gives one.
   * Returns the logits, n rows of V, the new states, and, if asked, the terms of the last layer.
   */
  step(ids, categories, states, withTerms = false) {
    const n = ids.length;
    const { size, gates } = this;
    const height = gates * size;
    const next = states.map(() => []);
    let below = null;
    let terms = null;
    this.layers.forEach((layer, depth) => {
      let input = new Float32Array(n * height);
      for (let r = 0; r < n; r++) {
        input.set(depth === 0 ? this.projected(ids[r], categories[r]) : layer.b_a, r * height);
      }
      if (depth > 0) layer.fromBelow.multiply(below, n, input);
      const previous = new Float32Array(n * size);
      for (let r = 0; r < n; r++) previous.set(states[r][depth].subarray(0, size), r * size);
      const before = withTerms ? Float32Array.from(input) : null;
      let recurrent = null;
      if (this.cell === "gru") {
        recurrent = new Float32Array(n * height);
        layer.fromBefore.multiply(previous, n, recurrent);
      } else {
        layer.fromBefore.multiply(previous, n, input);
      }
      below = new Float32Array(n * size);
      for (let r = 0; r < n; r++) {
        const state = new Float32Array(this.parts * size);
        this.#cell(input, recurrent, r * height, states[r][depth], state);
        next[r][depth] = state;
        below.set(state.subarray(0, size), r * size);
      }
      if (withTerms) terms = { x: before, sum: input, recurrent, bias: layer.b_a };
    });
    const logits = new Float32Array(n * this.vocab);
    for (let r = 0; r < n; r++) logits.set(this.b_y, r * this.vocab);
    this.out.multiply(below, n, logits);
    return { logits, states: next, terms };
  }

  #cell(input, recurrent, at, before, after) {
    const H = this.size;
    for (let j = 0; j < H; j++) {
      const p = at + j;
      if (this.cell === "rnn") {
        after[j] = Math.tanh(input[p]);
      } else if (this.cell === "gru") {
        const reset = sigmoid(input[p] + recurrent[p]);
        const update = sigmoid(input[p + H] + recurrent[p + H]);
        const fresh = Math.tanh(input[p + 2 * H] + reset * recurrent[p + 2 * H]);
        after[j] = fresh + update * (before[j] - fresh);
      } else {
        const memory =
          sigmoid(input[p + H]) * before[H + j] + sigmoid(input[p]) * Math.tanh(input[p + 2 * H]);
        after[H + j] = memory;
        after[j] = sigmoid(input[p + 3 * H]) * Math.tanh(memory);
      }
    }
  }
}

// ---- the n-gram ----

const NONE = -1;

/** Interpolated modified Kneser-Ney, counted from the training names as nomosaurus.model.ngram. */
class KneserNey {
  constructor(names, weights, vocab, order) {
    this.vocab = vocab;
    const symbols = [];
    const place = [];
    const weight = [];
    names.forEach((name, i) => {
      [BOUNDARY, ...name, BOUNDARY].forEach((symbol, at) => {
        symbols.push(symbol);
        place.push(at);
        weight.push(weights ? weights[i] : 1);
      });
    });
    const grams = [new Int32Array(symbols.length)]; // of each length, the id of what ends here
    const found = [];
    for (let k = 1; k <= order; k++) {
      const ids = new Map();
      const ends = new Int32Array(symbols.length).fill(NONE);
      symbols.forEach((symbol, i) => {
        const context = k === 1 ? 0 : place[i] === 0 ? NONE : grams[k - 1][i - 1];
        if (context === NONE) return;
        const key = context * vocab + symbol;
        if (!ids.has(key)) ids.set(key, ids.size);
        ends[i] = ids.get(key);
      });
      if (ids.size === 0) break;
      found.push(ids);
      grams.push(ends);
    }
    this.order = found.length;
    this.orders = found.map((ids, index) => {
      const k = index + 1;
      const counts = new Float64Array(ids.size);
      const weighted = new Float64Array(ids.size);
      if (k === this.order) {
        symbols.forEach((_, i) => {
          if (place[i] === 0 || grams[k][i] < 0) return;
          counts[grams[k][i]] += 1;
          weighted[grams[k][i]] += weight[i];
        });
      } else {
        const longer = new Set();
        symbols.forEach((_, i) => {
          if (grams[k][i] < 0 || place[i] === 0) return;
          if (place[i] === k - 1) counts[grams[k][i]] += 1;
          if (grams[k + 1][i] < 0 || longer.has(grams[k + 1][i])) return;
          longer.add(grams[k + 1][i]);
          counts[grams[k][i]] += 1;
        });
      }
      const taken = discounts(counts);
      const contexts = k === 1 ? 1 : found[index - 1].size;
      const total = new Float64Array(contexts);
      const kept = new Float64Array(contexts);
      const children = Array.from({ length: contexts }, () => []);
      for (const [key, id] of ids) {
        const context = Math.floor(key / vocab);
        const mean = k === this.order && counts[id] ? weighted[id] / counts[id] : 1;
        const off = taken[Math.min(counts[id], 3)];
        total[context] += counts[id] * mean;
        kept[context] += off * mean;
        children[context].push([key % vocab, (counts[id] - off) * mean]);
      }
      return { ids, total, kept, children };
    });
  }

  initial() {
    return Array.from({ length: this.order }, (_, k) => (k === 0 ? 0 : NONE));
  }

  /** The contexts after one more symbol. */
  advance(contexts, symbol) {
    const next = [0];
    for (let k = 0; k + 1 < this.order; k++) {
      const known = contexts[k] >= 0 && symbol < this.vocab;
      next.push(known ? (this.orders[k].ids.get(contexts[k] * this.vocab + symbol) ?? NONE) : NONE);
    }
    return next;
  }

  /** The share of its context that it has seen, 0 to 1. */
  seen(contexts) {
    return (contexts.filter((id) => id >= 0).length - 1) / Math.max(1, this.order - 1);
  }

  distribution(contexts) {
    const p = new Float64Array(this.vocab).fill(1 / this.vocab);
    this.orders.forEach(({ total, kept, children }, k) => {
      const context = contexts[k];
      if (context < 0 || !(total[context] > 0)) return;
      const passed = kept[context] / total[context];
      for (let i = 0; i < p.length; i++) p[i] *= passed;
      for (const [symbol, own] of children[context]) p[symbol] += own / total[context];
    });
    return p;
  }
}

/** D(0) = 0, D(1), D(2), D(3 and more): Chen and Goodman (1999), equation 17. */
function discounts(counts) {
  const fixed = [0, 0.5, 1, 1.5];
  const [n1, n2, n3, n4] = [1, 2, 3, 4].map((c) => counts.filter((count) => count === c).length);
  if (!n1 || !n2 || !n3) return fixed;
  const ratio = n1 / (n1 + 2 * n2);
  const estimate = [0, 1 - (2 * ratio * n2) / n1, 2 - (3 * ratio * n3) / n2, 3 - (4 * ratio * n4) / n3];
  return estimate.map((d, c) => (d >= 0 && d <= c ? d : fixed[c]));
}

// ---- the mixture ----

function logSumExp(values) {
  const highest = Math.max(...values);
  if (highest === -Infinity) return highest;
  return highest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - highest), 0));
}

function logSoftmax(values) {
  let highest = -Infinity;
  for (const value of values) if (value > highest) highest = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - highest);
  const total = highest + Math.log(sum);
  return Float64Array.from(values, (value) => value - total);
}

/** What came so far, and the distribution of what comes next. The same beginning is one node. */
class Node {
  constructor(depth) {
    this.depth = depth;
    this.children = new Map();
  }
}

const KEPT_DEPTH = 3; // nodes down to here are kept from block to block

class Model {
  constructor(content) {
    this.content = content;
    this.vocab = content.characters.length + 1;
    this.networks = content.networks.map((form, i) => new Network(content, form, `networks.${i}`));
    this.rnn = new Network(content, content.rnn, "rnn");
    this.ngram = new KneserNey(content.names, content.weights, this.vocab, content.ngram_order);
    this.ids = new Map(content.characters.map((character, i) => [character, i + 1]));
    this.learnt = new Set(content.names.map((name) => this.decode(name)));
    this.heldOut = new Set(content.held_out);
    this.casing = new Casing(content.casing);
    this.roots = new Map();
  }

  /** Before the first boundary; of one category, or of none that is known. */
  root(category) {
    if (!this.roots.has(category)) {
      const { shares } = this.content;
      const open = category < 0 && shares.length > 0;
      const rows = open ? shares.map((_, i) => i) : [Math.max(category, 0)];
      const start = new Node(-1);
      Object.assign(start, {
        categories: rows,
        joint: rows.map((i) => (open ? Math.log(shares[i]) : 0)),
        each: null,
        contexts: this.ngram.initial(),
        states: this.networks.map((network) => rows.map(() => network.initial())),
      });
      this.roots.set(category, this.grow([[start, BOUNDARY]])[0]);
    }
    return this.roots.get(category);
  }

  /** The nodes behind pairs of a node and the character that follows it, computed together. */
  grow(pairs) {
    const nodes = pairs.map(([parent, id]) => {
      const node = new Node(parent.depth + 1);
      node.categories = parent.categories;
      node.contexts = this.ngram.advance(parent.contexts, id);
      node.joint = parent.joint.map((sum, c) => sum + (parent.each?.[c][id] ?? 0));
      return node;
    });
    const rows = pairs[0][0].categories.length;
    const ids = pairs.flatMap(([, id]) => Array(rows).fill(id));
    const categories = pairs.flatMap(([parent]) => parent.categories);
    const mean = new Float64Array(ids.length * this.vocab);
    for (const node of nodes) node.states = [];
    this.networks.forEach((network, m) => {
      const before = pairs.flatMap(([parent]) => parent.states[m]);
      const { logits, states } = network.step(ids, categories, before);
      for (let i = 0; i < mean.length; i++) mean[i] += logits[i];
      nodes.forEach((node, i) => {
        node.states[m] = states.slice(i * rows, (i + 1) * rows);
      });
    });
    nodes.forEach((node, i) => {
      node.each = Array.from({ length: rows }, (_, c) => {
        const start = (i * rows + c) * this.vocab;
        const scores = mean.slice(start, start + this.vocab).map((x) => x / this.networks.length);
        return this.mixed(scores, node.contexts);
      });
      const before = logSumExp(node.joint);
      node.logProbs =
        rows === 1
          ? node.each[0]
          : Float64Array.from({ length: this.vocab }, (_, v) => {
              return logSumExp(node.joint.map((sum, c) => sum + node.each[c][v])) - before;
            });
    });
    return nodes;
  }

  /** Log-probabilities of the networks' mean logits mixed with the n-gram. */
  mixed(scores, contexts) {
    const [short, long] = this.content.ngram_weight;
    const w = short + (long - short) * this.ngram.seen(contexts);
    if (w === 0) return logSoftmax(scores);
    const ngram = this.ngram.distribution(contexts);
    return logSoftmax(scores.map((score, v) => (1 - w) * score + w * Math.log(ngram[v])));
  }

  // ---- names ----

  normalise(text) {
    const marks = new Set(this.content.marks);
    const seen = [...text].filter((character) => !marks.has(character)).join("");
    const name = seen.split(/\s+/u).filter(Boolean).join(" ");
    return (this.content.lowercase ? name.toLowerCase() : name).normalize("NFC");
  }

  characters(name) {
    if (!Intl.Segmenter) return [...name];
    return [...new Intl.Segmenter("en", { granularity: "grapheme" }).segment(name)].map((s) => s.segment);
  }

  /** The ids of a normalised name's characters; V for one that no training name has. */
  encode(name) {
    return this.characters(name).map((character) => this.ids.get(character) ?? this.vocab);
  }

  decode(ids) {
    return ids.map((id) => this.content.characters[id - 1]).join("");
  }

  written(name) {
    return this.content.lowercase ? this.casing.written(name) : name;
  }

  knows(name) {
    return this.learnt.has(name) || this.heldOut.has(keyedHash(name, this.content.split_key));
  }

  /** -ln p of a normalised name, its end counted. */
  nats(name, category = -1) {
    let node = this.root(category);
    let nats = 0;
    for (const id of [...this.encode(name), BOUNDARY]) {
      nats -= this.eventLogProb(node.logProbs, id);
      if (id !== BOUNDARY) [node] = this.grow([[node, id]]);
    }
    return nats;
  }

  /** The category that makes a name likeliest; -1 where names have none. */
  likeliest(name) {
    const { shares } = this.content;
    const scores = shares.map((share, c) => Math.log(share) - this.nats(name, c));
    return scores.indexOf(Math.max(...scores));
  }

  /** ln p of a character, where one that no training name has keeps a share of every step. */
  eventLogProb(logProbs, id) {
    const mass = this.content.unknown_mass;
    return id < this.vocab ? logProbs[id] + Math.log1p(-mass) : Math.log(mass);
  }

  /** A name step by step through one network; what each character costs, in bits. */
  explain(name, network, category = -1) {
    const targets = [...this.encode(name), BOUNDARY];
    const letters = this.characters(name);
    let state = [network.initial()];
    let node = this.root(category);
    const of = [category < 0 ? Infinity : category];
    return targets.map((target, t) => {
      const x = t === 0 ? BOUNDARY : targets[t - 1];
      const previous = state[0];
      const { logits, states, terms } = network.step([x], of, state, true);
      const forgetful = network.step([x], of, [network.initial()], true);
      state = states;
      const bits = (logProbs) =>
        -(target < this.vocab ? logProbs[target] : Math.log(this.content.unknown_mass)) / Math.LN2;
      const prediction = logSoftmax(logits);
      const without = logSoftmax(forgetful.logits);
      const step = {
        x: t === 0 ? "" : letters[t - 1],
        target: letters[t] ?? "",
        previous,
        state: states[0],
        terms,
        logits,
        y: prediction.map(Math.exp),
        bits: bits(prediction),
        forgetful: {
          previous: network.initial(),
          state: forgetful.states[0],
          terms: forgetful.terms,
          logits: forgetful.logits,
          y: without.map(Math.exp),
          bits: bits(without),
        },
        modelBits: -this.eventLogProb(node.logProbs, target) / Math.LN2,
      };
      if (target !== BOUNDARY) [node] = this.grow([[node, target]]);
      return step;
    });
  }

  /** The training name with the fewest edits to a name, the first of them; null without a list. */
  nearest(ids) {
    let best = null;
    for (const name of this.content.names) {
      if (best && Math.abs(name.length - ids.length) >= best.distance) continue;
      const distance = edits(ids, name);
      if (!best || distance < best.distance) best = { name, distance };
    }
    return best && { name: this.written(this.decode(best.name)), distance: best.distance };
  }
}

/** Damerau-Levenshtein, unrestricted (Lowrance and Wagner 1975). */
function edits(a, b) {
  const width = b.length + 2;
  const far = a.length + b.length;
  const table = new Int32Array((a.length + 2) * width).fill(far);
  for (let i = 0; i <= a.length; i++) table[(i + 1) * width + 1] = i;
  for (let j = 0; j <= b.length; j++) table[width + j + 1] = j;
  const lastRow = new Map();
  for (let i = 1; i <= a.length; i++) {
    let lastColumn = 0;
    for (let j = 1; j <= b.length; j++) {
      const row = lastRow.get(b[j - 1]) ?? 0;
      const same = a[i - 1] === b[j - 1];
      table[(i + 1) * width + j + 1] = Math.min(
        table[i * width + j] + (same ? 0 : 1),
        table[(i + 1) * width + j] + 1,
        table[i * width + j + 1] + 1,
        table[row * width + lastColumn] + (i - row - 1) + 1 + (j - lastColumn - 1),
      );
      if (same) lastColumn = j;
    }
    lastRow.set(a[i - 1], i);
  }
  return table[(a.length + 1) * width + b.length + 1];
}

/** How the list writes its words; nomosaurus.names.casing learnt it. */
class Casing {
  constructor({ words, places, beginnings }) {
    const map = (object) => new Map(Object.entries(object));
    Object.assign(this, { words: map(words), places: map(places), beginnings: map(beginnings) });
  }

  written(name) {
    const text = name.replace(/\p{L}[\p{L}\p{M}]*/gu, (word, at) => {
      const before = at === 0 ? "^" : [...name.slice(0, at)].at(-1);
      const joins = [...word].length <= 3 && at + word.length < name.length;
      return this.word(before + (joins ? "s" : "l"), before, word);
    });
    const composed = text.normalize("NFC");
    return composed.toLowerCase().normalize("NFC") === name ? composed : name;
  }

  word(place, before, word) {
    const known = this.words.get(before === "^" ? `^${word}` : word);
    if (known) return known;
    const letters = [...word];
    for (let length = letters.length - 1; length > 1; length--) {
      const beginning = this.beginnings.get(letters.slice(0, length).join(""));
      if (beginning) return beginning + titled(letters.slice(length).join(""));
    }
    const form = [place, before, ""].map((p) => this.places.get(p)).find(Boolean) ?? "lower";
    return form === "upper" ? word.toUpperCase() : form === "title" ? titled(word) : word;
  }
}

function titled(word) {
  const [first = "", ...rest] = word;
  return first.toUpperCase() + rest.join("");
}

// ---- drawing ----

const BLOCK = 256;
const REBUILT_AT = 0.05;
const EXHAUSTED = 1e-6;
const DRAWS_WITHOUT_A_NAME = 20_000;
const U64 = (x) => BigInt.asUintN(64, x);

/** Philox 4x64-10 (Salmon et al. 2011), as NumPy counts: four numbers of [0, 1) a group. */
function philox(seed, group) {
  let [a, b, c, d] = [U64(BigInt(group) + 1n), 0n, 0n, 0n];
  let [k, l] = [U64(BigInt(seed)), 0n];
  for (let round = 0; round < 10; round++) {
    const p = 0xd2e7470ee14c6c93n * a;
    const q = 0xca5a826395121157n * c;
    [a, b, c, d] = [(q >> 64n) ^ b ^ k, U64(q), (p >> 64n) ^ d ^ l, U64(p)];
    k = U64(k + 0x9e3779b97f4a7c15n);
    l = U64(l + 0xbb67ae8584caa73bn);
  }
  return [a, b, c, d].map((word) => Number(word >> 11n) / 2 ** 53);
}

/** Names taken out of the distribution (Shi, Bieber and Singh 2020); see nomosaurus.generation.trie. */
class Trie {
  constructor(samples) {
    this.top = { children: new Map() };
    for (const { path } of samples) {
      let node = this.top;
      for (const [symbol, probability] of path) {
        if (!node.children.has(symbol)) node.children.set(symbol, { probability, children: new Map() });
        node = node.children.get(symbol);
      }
    }
    this.left = Math.max(1 - this.#taken(this.top), 0);
  }

  #taken(node) {
    let taken = 0;
    for (const child of node.children.values()) {
      const share = child.children.size ? this.#taken(child) : 1;
      const left = Math.max(1 - share, 0);
      child.left = left < EXHAUSTED ? 0 : left;
      taken += child.probability * share;
    }
    return taken;
  }
}

/** The names that a request asks for, one by one; see nomosaurus.generation.generator. */
class Generator {
  constructor(model, request) {
    this.model = model;
    this.request = { prefix: "", temperature: 0.7, minLength: 1, maxLength: 0, minDistance: 0, isNew: true, ...request };
    this.request.category ??= -1;
    const most = model.content.max_length;
    this.limit = Math.min(this.request.maxLength || most, most);
    // With a letter behind it, since a prefix may end in a space and lower case looks ahead.
    this.prefix = model.encode(model.normalise(`${this.request.prefix}x`).slice(0, -1));
    this.block = 0;
    this.trie = null;
    this.inTrie = [];
    this.recent = new Map();
    this.recentShare = 0;
    this.seen = new Set();
  }

  /** Why the request cannot be met, as a key of WORDS; null if it can. */
  get problem() {
    if (this.prefix.includes(this.model.vocab)) return "unknownPrefix";
    if (this.prefix.length > this.limit) return "longPrefix";
    if (this.request.minLength > this.limit) return "noLength";
    return null;
  }

  *names(count) {
    let kept = 0;
    let inVain = 0;
    while (kept < count) {
      const samples = this.draw();
      const out = [];
      for (const sample of samples) {
        out.push(sample);
        const name = this.wanted(sample);
        if (!name) {
          inVain += 1;
          continue;
        }
        this.seen.add(name.name);
        kept += 1;
        inVain = 0;
        yield name;
        if (kept === count) return;
      }
      this.leaveOut(out);
      const left = this.trie ? this.trie.left : 1;
      if (left < EXHAUSTED || samples.length === 0 || inVain >= DRAWS_WITHOUT_A_NAME) return;
      yield null; // a block without a name, so that a worker can tell that it is at work
    }
  }

  wanted({ ids, ended, logProb }) {
    const { model, request } = this;
    if (!ended || ids.length < request.minLength) return null;
    const name = model.decode(ids);
    if (!name || model.normalise(name) !== name || /\p{Cc}/u.test(name)) return null;
    if (model.encode(name).join() !== ids.join()) return null;
    if (this.seen.has(name)) return null;
    const listed = model.knows(name);
    if (listed && request.isNew) return null;
    if (request.minDistance > 0) {
      const nearest = model.nearest(ids);
      if (nearest && nearest.distance < request.minDistance) return null;
    }
    const events = ids.length + 1;
    const nats = -logProb - events * Math.log1p(-model.content.unknown_mass);
    return { name, written: model.written(name), ids, listed, nats, bitsPerChar: nats / events / Math.LN2 };
  }

  /** The next block of samples; shorter where they ran into what was left out. */
  draw() {
    const { limit, prefix, request, model } = this;
    const groups = Math.ceil((limit + 1) / 4);
    const first = this.block * BLOCK;
    this.block += 1;
    const top = this.trie ? this.trie.top.children.get(0) : undefined;
    if (top && top.left === 0) return [];
    const root = model.root(request.category);
    const rows = Array.from({ length: BLOCK }, (_, i) => ({
      number: first + i,
      ids: [],
      logProb: 0,
      ended: false,
      dead: false,
      path: [[0, 1]],
      node: root,
      taken: top,
      uniforms: [],
    }));
    let going = rows;
    for (let step = 0; step <= limit && going.length; step++) {
      for (const row of going) {
        let id = prefix[step];
        let probability = 1;
        if (step >= prefix.length) {
          if (step % 4 === 0 || !row.uniforms.length) {
            row.uniforms = philox(request.seed, row.number * groups + Math.floor(step / 4));
          }
          const p = tempered(row.node, request.temperature);
          const open = step === limit ? [p[BOUNDARY], 1 - p[BOUNDARY]] : p;
          const chosen = choose(open, row.taken, step === limit, row.uniforms[step % 4], model.vocab);
          if (chosen < 0) {
            row.dead = true;
            continue;
          }
          id = chosen;
          probability = id === model.vocab ? 1 - p[BOUNDARY] : p[id];
        }
        row.path.push([id, probability]);
        row.taken = row.taken?.children.get(id);
        if (id === BOUNDARY) {
          row.logProb += row.node.logProbs[BOUNDARY];
          row.ended = true;
        } else if (step < limit) {
          row.logProb += row.node.logProbs[id];
          row.ids.push(id);
        }
      }
      going = going.filter((row) => !row.ended && !row.dead);
      if (step < limit) this.#advance(going);
    }
    return rows.filter((row) => !row.dead);
  }

  /** Give each row the node behind its last character; rows with the same beginning share it. */
  #advance(rows) {
    const fresh = new Map();
    const pairs = [];
    const waiting = [];
    for (const row of rows) {
      const id = row.ids[row.ids.length - 1];
      const parent = row.node;
      const children = parent.depth < KEPT_DEPTH ? parent.children : (fresh.get(parent) ?? new Map());
      if (parent.depth >= KEPT_DEPTH) fresh.set(parent, children);
      if (!children.has(id)) {
        children.set(id, pairs.length);
        pairs.push([parent, id]);
      }
      waiting.push([row, children, id]);
    }
    const nodes = [];
    for (let i = 0; i < pairs.length; i += 64) nodes.push(...this.model.grow(pairs.slice(i, i + 64)));
    for (const [row, children, id] of waiting) {
      if (typeof children.get(id) === "number") children.set(id, nodes[children.get(id)]);
      row.node = children.get(id);
    }
  }

  /** Draw these no more, from now on or soon. */
  leaveOut(samples) {
    for (const sample of samples) {
      const key = sample.path.map(([symbol]) => symbol).join();
      if (this.recent.has(key)) continue;
      this.recent.set(key, { path: sample.path });
      this.recentShare += sample.path.reduce((product, [, p]) => product * p, 1);
    }
    if (this.recentShare > REBUILT_AT * (this.trie ? this.trie.left : 1)) {
      this.inTrie.push(...this.recent.values());
      this.trie = new Trie(this.inTrie);
      this.recent = new Map();
      this.recentShare = 0;
    }
  }
}

/** The distribution at a temperature; kept with its node. */
function tempered(node, temperature) {
  if (node.temperature !== temperature) {
    node.probabilities = logSoftmax(node.logProbs.map((x) => x / temperature)).map(Math.exp);
    node.temperature = temperature;
  }
  return node.probabilities;
}

/**
 * One symbol by the inverse of the distribution, each weighed by what is left below it; -1 if
 * nothing is. At the length limit there are two: the end, and all else, which is the symbol V.
 */
function choose(p, taken, atLimit, uniform, vocab) {
  const cumulative = new Float64Array(p.length);
  let total = 0;
  for (let i = 0; i < p.length; i++) {
    const left = taken?.children.get(atLimit && i === 1 ? vocab : i)?.left ?? 1;
    total += p[i] * left;
    cumulative[i] = total;
  }
  if (total === 0) return -1;
  let last = 0;
  for (let i = 0; i < p.length; i++) {
    if (cumulative[i] > uniform * total) return atLimit && i === 1 ? vocab : i;
    if (i === 0 ? cumulative[0] > 0 : cumulative[i] > cumulative[i - 1]) last = i;
  }
  return atLimit && last === 1 ? vocab : last;
}

// ---- the hash of held-out names ----

const BLAKE_IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const BLAKE_SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const rotated = (x, by) => U64((x >> by) | (x << (64n - by)));

/** A keyed 64-bit BLAKE2b hash (RFC 7693) as hexadecimal: what names/corpus.py's name_hash gives. */
function keyedHash(text, key) {
  const bytes = new TextEncoder().encode(text);
  const keyBytes = new TextEncoder().encode(key);
  const start = keyBytes.length ? 128 : 0;
  const message = new Uint8Array(Math.max(128, Math.ceil((start + bytes.length) / 128) * 128));
  message.set(keyBytes);
  message.set(bytes, start);
  const end = start + bytes.length;
  const h = [...BLAKE_IV];
  h[0] ^= 0x01010000n ^ BigInt(keyBytes.length << 8) ^ 8n;
  const view = new DataView(message.buffer);
  for (let at = 0; at < message.length; at += 128) {
    const last = at + 128 >= message.length;
    const m = Array.from({ length: 16 }, (_, i) => view.getBigUint64(at + 8 * i, true));
    const v = [...h, ...BLAKE_IV];
    v[12] ^= BigInt(last ? end : at + 128);
    if (last) v[14] ^= 0xffffffffffffffffn;
    const mix = (a, b, c, d, x, y) => {
      v[a] = U64(v[a] + v[b] + x);
      v[d] = rotated(v[d] ^ v[a], 32n);
      v[c] = U64(v[c] + v[d]);
      v[b] = rotated(v[b] ^ v[c], 24n);
      v[a] = U64(v[a] + v[b] + y);
      v[d] = rotated(v[d] ^ v[a], 16n);
      v[c] = U64(v[c] + v[d]);
      v[b] = rotated(v[b] ^ v[c], 63n);
    };
    for (let round = 0; round < 12; round++) {
      const s = BLAKE_SIGMA[round % 10].map((i) => m[i]);
      for (let i = 0; i < 4; i++) mix(i, 4 + i, 8 + i, 12 + i, s[2 * i], s[2 * i + 1]);
      for (let i = 0; i < 4; i++) {
        mix(i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4), s[8 + 2 * i], s[9 + 2 * i]);
      }
    }
    for (let i = 0; i < 8; i++) h[i] ^= v[i] ^ v[8 + i];
  }
  const digest = new DataView(new ArrayBuffer(8));
  digest.setBigUint64(0, h[0], true);
  return digest.getBigUint64(0).toString(16).padStart(16, "0");
}

// ---- what units have learnt ----

const NAMES_LOOKED_AT = 300;

/**
 * What each unit of a network follows, over the list's names: the feature with the highest
 * correlation to its activation. Features are the last one to four characters, the next character
 * being a vowel or a given one, and the end coming next.
 * Returns the activations, the letters, and the units, the most telling first.
 */
function study(model, network) {
  const names = model.content.names;
  const every = Math.max(1, Math.floor(names.length / NAMES_LOOKED_AT));
  const chosen = names.filter((_, i) => i % every === 0).slice(0, NAMES_LOOKED_AT);
  const H = network.size;
  const last = network.layers.length - 1;
  let states = chosen.map(() => network.initial());
  const events = []; // {name, at}: the character at `at` was just read
  const rows = [];
  const longest = Math.max(...chosen.map((name) => name.length), 0);
  for (let t = 0; t <= longest; t++) {
    const live = chosen.flatMap((name, i) => (name.length >= t ? [i] : []));
    const ids = live.map((i) => (t === 0 ? BOUNDARY : chosen[i][t - 1]));
    const result = network.step(ids, ids.map(() => Infinity), live.map((i) => states[i]));
    live.forEach((i, r) => {
      states[i] = result.states[r];
      events.push({ name: i, at: t });
      rows.push(result.states[r][last].subarray(0, H));
    });
  }
  const texts = chosen.map((name) => name.map((id) => model.content.characters[id - 1]));
  const features = new Map();
  const add = (key, e) => {
    if (!features.has(key)) features.set(key, []);
    features.get(key).push(e);
  };
  events.forEach(({ name, at }, e) => {
    const text = texts[name];
    for (let n = 1; n <= Math.min(4, at); n++) add(`after:${text.slice(at - n, at).join("")}`, e);
    if (at === 0) add("start:", e);
    add(at === text.length ? "end:" : `next:${text[at]}`, e);
    if (at < text.length && VOWELS.test(text[at])) add("vowel:", e);
  });
  const least = Math.max(4, events.length / 200);
  const common = [...features].filter(([, at]) => at.length >= least && at.length < events.length / 1.2);
  const units = Array.from({ length: H }, (_, u) => {
    let sum = 0;
    let squares = 0;
    for (const row of rows) {
      sum += row[u];
      squares += row[u] * row[u];
    }
    const mean = sum / rows.length;
    const deviation = Math.sqrt(Math.max(squares / rows.length - mean * mean, 1e-12));
    let best = { feature: "", r: 0 };
    for (const [feature, at] of common) {
      let inside = 0;
      for (const e of at) inside += rows[e][u] - mean;
      const share = at.length / rows.length;
      const r = inside / rows.length / deviation / Math.sqrt(share * (1 - share));
      if (Math.abs(r) > Math.abs(best.r)) best = { feature, r };
    }
    return { unit: u, mean, ...best };
  });
  units.sort((a, b) => Math.abs(b.r) - Math.abs(a.r));
  return { texts, events, rows, units };
}

if (typeof module !== "undefined") {
  module.exports = { unpack, Matrix, Model, Network, KneserNey, Generator, philox, keyedHash, edits, study };
}
