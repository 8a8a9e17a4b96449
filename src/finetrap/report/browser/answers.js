// The answer browser: two arms' answers to the same problems, filtered, searched, a page at a time.
// Every text here was written by a model or a user: it reaches the page as textContent only, with
// its hidden characters shown by their codes, as text/visible.py does for the rest of the page.
(() => {
"use strict";

const CARDS = 20; // problems on a page
const CLIP = 600; // characters of a text shown at first
const RULES = {
  "hash": "after ####", "tag": "in an answer tag", "json": "under the key “answer”",
  "answer-is": "after “answer is”", "boxed": "in \\boxed",
  "equation": "result of the last equation", "last-number": "the last number",
  "scaled": "times its word of scale", "factorial": "its factorial",
  "is-correct": "the option said to be right", "opening": "how it opens",
  "last-letter": "the last option letter", "last-line": "the last line", "likelihood": "the likeliest choice per byte",
};
const STOPS = {e: "ended by itself", s: "ended by a stop string", c: "cut at the token limit"};
const NOUNS = {math: "problem", choice: "problem", prose: "piece"};
const OUTCOMES = [
  ["lost", "lost", "harmed"], ["gained", "gained", "improved"],
  ["right", "both right", "equivalent"], ["wrong", "both wrong", "inconclusive"],
];

const section = document.getElementById("answers");
const browser = document.getElementById("answer-browser");
const notice = document.getElementById("answer-notice");
const field = name => browser.querySelector(`[name="${name}"]`);
const [outcomeChips, flagChips] = browser.querySelectorAll(".chips");
const [above, below] = browser.querySelectorAll(".pager");
const list = browser.querySelector(".cards");
const status = browser.querySelector(".count-line");

// --- text that others wrote -------------------------------------------------------------------

const code = char => `⟨U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

/** Write every character that cannot be seen by its code, and all but three marks of a pile. */
function visible(text) {
  if (/^[\n\t\x20-\x7e]*$/.test(text)) return text;
  return text
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, char => (char === "\n" || char === "\t" ? char : code(char)))
    .replace(/[\p{Mn}\p{Me}]{4,}/gu, pile =>
      Array.from(pile, (mark, i) => (i < 3 ? mark : code(mark))).join(""));
}

function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = visible(String(text));
  return made;
}

const words = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const bits = value => value.toFixed(3);
const signed = value => (value > 0 ? "+" : value < 0 ? "−" : "") + bits(Math.abs(value));

/** Fill a node with a text in which what was searched for is marked. */
function marked(node, text, query) {
  node.textContent = "";
  const pattern = query && new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
  let from = 0;
  for (const match of pattern ? text.matchAll(pattern) : []) {
    node.append(text.slice(from, match.index), element("mark", "", match[0]));
    from = match.index + match[0].length;
  }
  node.append(text.slice(from));
  return node;
}

/** Return where a text can be cut near a place without halving a character. */
function between(text, place) {
  const unit = text.charCodeAt(place);
  return unit >= 0xdc00 && unit <= 0xdfff ? place - 1 : place;
}

/** Show a text, a long one clipped in its middle with a button that shows all of it. */
function passage(tag, name, raw, query) {
  const text = visible(raw);
  const node = element(tag, name);
  const head = between(text, CLIP * 2 / 3), tail = between(text, text.length - CLIP / 3);
  const hidden = `⟨${(tail - head).toLocaleString("en")} characters not shown⟩`;
  const clipped = `${text.slice(0, head)} … ${hidden} … `, ending = text.slice(tail);
  const found = part => part.toLowerCase().includes(query.toLowerCase());
  const hides = query && found(text) && !found(clipped) && !found(ending);
  if (text.length <= CLIP * 1.2 || hides) return [marked(node, text, query)];
  marked(node, clipped + ending, query);
  const more = element("button", "more", `show all ${text.length.toLocaleString("en")} characters`);
  more.type = "button";
  more.addEventListener("click", () => {
    marked(node, text, query);
    node.tabIndex = -1;
    node.focus();
    more.remove();
  });
  return [node, more];
}

// --- what is looked at ------------------------------------------------------------------------

let data, shown, lowered = [], hits = new Int8Array(0);
const state = {set: 0, left: 0, right: 1, outcome: "all", none: false, cut: false, query: "",
  order: "asked", page: 0, rows: []};

const text = place => (place < 0 ? "" : data.texts[place]);
const armName = arm => arm.label + (arm.seed === null ? "" : `, seed ${arm.seed}`);
const either = (place, test) => test(shown.left, place) || test(shown.right, place);
const answered = place => shown.left.right[place] !== " " && shown.right.right[place] !== " ";

function outcome(place) {
  const before = shown.left.right[place], after = shown.right.right[place];
  if (before === "-" || after === "-") return "";
  if (before === after) return before === "1" ? "right" : "wrong";
  return before === "1" ? "lost" : "gained";
}

const FLAGS = {
  none: place => either(place, (arm, i) => arm.values[i] < 0),
  cut: place => either(place, (arm, i) => arm.stops[i] === "c"),
};

/** Tell whether a text holds what was searched for; each text of the table is read once. */
function holds(place) {
  if (place < 0) return false;
  if (!hits[place]) {
    lowered[place] ??= visible(data.texts[place]).toLowerCase();
    hits[place] = lowered[place].includes(state.query.toLowerCase()) ? 1 : 2;
  }
  return hits[place] === 1;
}

function matches(place) {
  return !state.query || holds(shown.left.texts[place]) || holds(shown.right.texts[place])
    || holds(shown.set.questions[place]) || holds(shown.set.golds[place])
    || (shown.set.choices[place] ?? []).some(holds)
    || shown.set.ids[place].toLowerCase().includes(state.query.toLowerCase());
}

function change(place) {
  const before = shown.left.bits[place], after = shown.right.bits[place];
  return before === null || after === null ? null : after - before;
}

/** Choose the problems to show, and count what each filter would show with all others as set. */
function choose() {
  const counts = {all: 0, lost: 0, gained: 0, right: 0, wrong: 0, none: 0, cut: 0, both: 0};
  hits = new Int8Array(data.texts.length);
  state.rows = [];
  for (let place = 0; place < shown.set.ids.length; place++) {
    if (!answered(place)) continue;
    counts.both++;
    if (!matches(place)) continue;
    const kind = outcome(place), none = FLAGS.none(place), cut = FLAGS.cut(place);
    const wanted = state.outcome === "all" || state.outcome === kind;
    const flagged = (!state.none || none) && (!state.cut || cut);
    if (flagged) {
      counts.all++;
      if (kind) counts[kind]++;
    }
    if (wanted && none && (!state.cut || cut)) counts.none++;
    if (wanted && cut && (!state.none || none)) counts.cut++;
    if (wanted && flagged) state.rows.push(place);
  }
  if (state.order !== "asked") {
    const way = state.order === "worse" ? -1 : 1;
    state.rows.sort((a, b) => way * ((change(a) ?? -way * Infinity) - (change(b) ?? -way * Infinity))
      || a - b);
  }
  return counts;
}

// --- drawing ----------------------------------------------------------------------------------

function side(arm, place, other) {
  const box = element("div", "side");
  const line = element("p");
  line.append(element("b", "", armName(arm)), " ");
  const right = arm.right[place], parts = [];
  if (right !== "-") {
    line.append(element("span", right === "1" ? "is-right" : "is-wrong",
      right === "1" ? "✓ right" : "✕ wrong"));
    if (shown.set.kind === "math")
      line.append(" ", arm.values[place] < 0 ? element("i", "", "no answer found")
        : element("code", "", brief(text(arm.values[place]))));
    const rule = text(arm.rules[place]);
    if (rule !== "none") parts.push(`rule ${brief(rule)}` + (rule in RULES ? ` (${RULES[rule]})` : ""));
    if (shown.set.kind === "math") {
      parts.push(words(arm.tokens[place], "token"));
      if (arm.stops[place] in STOPS) parts.push(STOPS[arm.stops[place]]);
    }
  }
  if (arm.bits[place] !== null) {
    const gold = {math: "gold solution ", choice: "gold choice ", prose: ""}[shown.set.kind];
    const from = other && other.bits[place] !== null && other !== arm
      ? ` (${signed(arm.bits[place] - other.bits[place])})` : "";
    parts.push(`${gold}${bits(arm.bits[place])} bits/byte${from}`);
  }
  box.append(line, element("p", shown.set.kind === "prose" ? "" : "quiet", parts.join(" · ")));
  if (shown.set.kind !== "prose")
    box.append(...passage("pre", "", text(arm.texts[place]) || "(empty)", state.query));
  return box;
}

const brief = value => (value.length > 80 ? `${value.slice(0, between(value, 80))}…` : value);

function choices(place) {
  const own = shown.set.choices[place], gold = Number(text(shown.set.golds[place]));
  const made = element("ol", "choices");
  made.start = 0;
  for (const [number, choice] of own.entries()) {
    const item = element("li");
    item.append(...passage("span", "", text(choice), state.query));
    if (number === gold) item.append(" ", element("b", "is-right", "gold"));
    made.append(item);
  }
  return made;
}

function fact(name, value) {
  const made = element("span", "fact", `${name} `);
  made.append(element("code", "", value));
  return made;
}

function card(place) {
  const set = shown.set, kind = outcome(place), item = element("li", "change");
  const head = element("h4");
  head.append(marked(element("span"), visible(set.ids[place]), state.query));
  const named = OUTCOMES.find(([key]) => key === kind);
  if (named) head.append(" ", element("span", `verdict ${named[2]}`, named[1]));
  if (set.kind !== "prose") head.append(" ", fact("gold", brief(text(set.golds[place]))));
  if (set.families[place] >= 0) head.append(" ", fact("family", brief(text(set.families[place]))));
  item.append(head);
  if (set.questions[place] >= 0)
    item.append(...passage("p", "question", text(set.questions[place]), state.query));
  if ((set.choices[place] ?? []).length) item.append(choices(place));
  const sides = element("div", "sides");
  sides.append(side(shown.left, place), side(shown.right, place, shown.left));
  item.append(sides);
  return item;
}

function pager(box) {
  const pages = Math.max(1, Math.ceil(state.rows.length / CARDS));
  const button = (label, page, name) => {
    const made = element("button", "", label);
    made.type = "button";
    made.setAttribute("aria-label", `${name} page`);
    made.dataset.to = name;
    made.disabled = page < 0 || page >= pages || page === state.page;
    made.addEventListener("click", () => {
      state.page = page;
      draw();
      const again = box.querySelector(`[data-to="${name}"]:enabled`) ?? box.querySelector(":enabled");
      again?.focus({preventScroll: true});
      if (box === below) above.scrollIntoView({block: "start"});
    });
    return made;
  };
  box.hidden = pages === 1;
  box.replaceChildren(
    button("«", 0, "first"), button("‹ previous", state.page - 1, "previous"),
    element("span", "", `page ${(state.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`),
    button("next ›", state.page + 1, "next"), button("»", pages - 1, "last"),
  );
}

function draw() {
  list.replaceChildren(...state.rows.slice(state.page * CARDS, (state.page + 1) * CARDS).map(card));
  pager(above);
  pager(below);
}

/** Choose again and draw; called at every key that is typed, so it must stay within a frame or two. */
function refresh() {
  const counts = choose();
  state.page = 0;
  for (const chip of browser.querySelectorAll(".chips input")) {
    chip.nextElementSibling.lastElementChild.textContent = counts[chip.value].toLocaleString("en");
    chip.checked = chip.type === "radio" ? state.outcome === chip.value : state[chip.value];
  }
  status.textContent =
    `${state.rows.length.toLocaleString("en")} of ${words(counts.both, NOUNS[shown.set.kind])}`
    + " shared";
  draw();
}

// --- controls ---------------------------------------------------------------------------------

function option(label, value) {
  const made = element("option", "", brief(label));
  made.value = value;
  return made;
}

function chip(box, type, value, label, name) {
  const made = element("label", "chip"), input = element("input"), face = element("span", name, label);
  Object.assign(input, {type, value, name: type === "radio" ? "outcome" : value});
  face.append(" ", element("b", "number"));
  made.append(input, face);
  box.append(made);
  input.addEventListener("change", () => {
    if (type === "radio") state.outcome = value;
    else state[value] = input.checked;
    refresh();
  });
}

/** Return the arm that lost most against the left one; of prose the one that became least likely. */
function worst(set) {
  const harm = arm => {
    let sum = 0;
    for (let i = 0; i < set.ids.length; i++) {
      if (set.kind === "prose") sum += (arm.bits[i] ?? 0) - (set.arms[0].bits[i] ?? 0);
      else sum += (set.arms[0].right[i] === "1") - (arm.right[i] === "1");
    }
    return sum;
  };
  const sums = set.arms.map((arm, i) => (i ? harm(arm) : -Infinity));
  return set.arms.length > 1 ? sums.indexOf(Math.max(...sums)) : 0;
}

function pickArms() {
  shown.left = shown.set.arms[state.left];
  shown.right = shown.set.arms[state.right];
  refresh();
}

/** Begin with what was lost, if anything was: that is what the page is opened for. */
function begin() {
  pickSet();
  if (!shown.set.ids.some((id, place) => outcome(place) === "lost")) return;
  state.outcome = "lost";
  refresh();
}

function pickSet() {
  const set = data.sets[state.set], before = shown;
  shown = {set};
  const named = (arm, other) => {
    const found = arm ? set.arms.findIndex(a => armName(a) === armName(arm)) : -1;
    return found < 0 ? other : found;
  };
  state.left = named(before?.left, 0);
  state.right = named(before?.right, worst(set));
  for (const name of ["left", "right"]) {
    field(name).replaceChildren(...set.arms.map((arm, i) => option(armName(arm), i)));
    field(name).value = state[name];
  }
  const scored = set.kind !== "prose";
  outcomeChips.hidden = !scored;
  flagChips.hidden = set.kind !== "math";
  if (!scored) state.outcome = "all";
  if (set.kind !== "math") state.none = state.cut = false;
  const what = scored ? "gold" : "text";
  field("order").replaceChildren(option("as numbered", "asked"),
    option("largest likelihood drop first", "worse"),
    option(`${what} became likelier first`, "better"));
  state.order = scored ? "asked" : "worse";
  field("order").value = state.order;
  pickArms();
}

function build() {
  const groups = new Map();
  for (const [i, set] of data.sets.entries()) {
    const group = `${set.model} trained on ${set.trained_on}`;
    if (!groups.has(group)) groups.set(group, element("optgroup"));
    groups.get(group).label = visible(brief(group));
    groups.get(group).append(option(`${set.asked}${set.probe ? " (probe)" : ""} · ${brief(set.model)}`, i));
  }
  field("set").replaceChildren(...groups.values());
  chip(outcomeChips, "radio", "all", "all");
  for (const [value, label, name] of OUTCOMES) chip(outcomeChips, "radio", value, label, `verdict ${name}`);
  chip(flagChips, "checkbox", "none", "no answer");
  chip(flagChips, "checkbox", "cut", "a truncated answer");
  for (const [name, pick] of [["set", pickSet], ["left", pickArms], ["right", pickArms]])
    field(name).addEventListener("change", () => {
      state[name] = Number(field(name).value);
      pick();
    });
  field("order").addEventListener("change", () => {
    state.order = field("order").value;
    refresh();
  });
  field("query").addEventListener("input", () => {
    state.query = visible(field("query").value);
    refresh();
  });
}

// --- opening ----------------------------------------------------------------------------------

async function unpack() {
  const packed = atob(document.getElementById("answer-data").textContent.trim());
  const bytes = Uint8Array.from(packed, char => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function say(fault) {
  notice.textContent = `${fault} They are in answers.jsonl of each run.`;
  notice.hidden = false;
}

async function open() {
  if (typeof DecompressionStream === "undefined") {
    say("This browser cannot unpack the answers: it is older than 2023 and has no DecompressionStream.");
    return;
  }
  try {
    data = await unpack();
    build();
    begin();
  } catch (fault) {
    say(`The answers in this file cannot be unpacked (${fault.message}): it may have been cut short when it was copied.`);
    return;
  }
  browser.hidden = false;
  section.dataset.ready = "answers";
}

open();
})();
