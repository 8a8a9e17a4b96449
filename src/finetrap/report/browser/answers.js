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
const [outcomeChips, flagChips] = browser?.querySelectorAll(".chips") ?? [];
const [above, below] = browser?.querySelectorAll(".pager") ?? [];
const list = browser?.querySelector(".cards");
const status = browser?.querySelector(".count-line");

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

const MOST_WORDS = 300; // of a text that is compared word by word

/** Mark the words of a text that another has not at that place: all but the common subsequence with
 * the most characters. It is found from the end, where two answers differ in what counts. Of long
 * texts with little in common nothing is marked: all of it differs. */
function differing(node, own, other) {
  const [a, b] = [own, other].map(text => text.split(/(\s+)/).filter(Boolean).reverse());
  if (a.length > MOST_WORDS || b.length > MOST_WORDS) return;
  const best = Array.from({length: a.length + 1}, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + a[i].length
        : Math.max(best[i + 1][j], best[i][j + 1]);
  if (4 * best[0][0] < Math.max(own.length, other.length, 80) - 80) return;
  const runs = [];
  for (let i = 0, j = 0; i < a.length;) {
    const same = j < b.length && a[i] === b[j];
    if (!same && j < b.length && best[i][j + 1] > best[i + 1][j]) {
      j++;
      continue;
    }
    if (runs.at(-1)?.same !== same) runs.push({same, text: ""});
    runs.at(-1).text = a[i] + runs.at(-1).text;
    i++;
    j += same ? 1 : 0;
  }
  node.replaceChildren(...runs.reverse().map(run =>
    (run.same ? document.createTextNode(run.text) : element("mark", "diff", run.text))));
}

// --- what is looked at ------------------------------------------------------------------------

let data, shown, lowered = [], hits = new Int8Array(0);
const state = {set: 0, left: 0, right: 1, third: -1, outcome: "all", none: false, cut: false, every: false,
  query: "", family: "", problem: "", order: "asked", page: 0, rows: []};
let linked = false; // whether the address tells what is shown: only once a person has chosen something

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

/** Return the runs of the right arm, one a seed. */
const seeds = () => shown.set.arms.filter(arm => arm.label === shown.right.label);

const FLAGS = {
  none: place => either(place, (arm, i) => arm.values[i] < 0),
  cut: place => either(place, (arm, i) => arm.stops[i] === "c"),
  every: place => shown.left.right[place] === "1" && seeds().every(arm => arm.right[place] === "0"),
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
  if (state.problem && shown.set.ids[place] !== state.problem) return false;
  if (state.family && text(shown.set.families[place]) !== state.family) return false;
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
  const counts = {all: 0, lost: 0, gained: 0, right: 0, wrong: 0, none: 0, cut: 0, every: 0, both: 0};
  const names = Object.keys(FLAGS);
  hits = new Int8Array(data.texts.length);
  state.rows = [];
  for (let place = 0; place < shown.set.ids.length; place++) {
    if (!answered(place)) continue;
    counts.both++;
    if (!matches(place)) continue;
    const kind = outcome(place), wanted = state.outcome === "all" || state.outcome === kind;
    const own = names.map(name => FLAGS[name](place));
    const missed = names.filter((name, i) => state[name] && !own[i]);
    if (!missed.length) {
      counts.all++;
      if (kind) counts[kind]++;
    }
    names.forEach((name, i) => {
      if (wanted && own[i] && missed.every(other => other === name)) counts[name]++;
    });
    if (wanted && !missed.length) state.rows.push(place);
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
  const box = element("div", "side"), prose = shown.set.kind === "prose";
  const line = element("p");
  line.append(element("b", "", armName(arm)), " ");
  const right = arm.right[place], partly = arm.scores[place], parts = [];
  if (right !== "-") {
    line.append(element("span", right === "1" ? "is-right" : partly ? "" : "is-wrong",
      partly ? `${Math.round(100 * partly)}% right` : right === "1" ? "✓ right" : right === "0" ? "✕ wrong" : "not asked"));
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
  box.append(line);
  const own = text(arm.texts[place]), compared = other && other !== arm ? text(other.texts[place]) : null;
  if (own === compared && !prose) line.append(" ", element("span", "quiet", "identical"));
  if (parts.length) box.append(element("p", "quiet", parts.join(" · ")));
  if (!prose) {
    const [node, more] = passage("pre", "", own || "(empty)", state.query);
    const versus = compared ?? (arm === shown.left ? text(shown.right.texts[place]) : null);
    if (!state.query && !more && versus !== null && versus !== own && own)
      differing(node, visible(own), visible(versus));
    box.append(node, ...(more ? [more] : []));
  }
  box.append(...likelihood(arm, place, other, prose));
  return box;
}

/** Say how unlikely the gold text was: of prose that is the answer, else it is folded away. */
function likelihood(arm, place, other, prose) {
  if (arm.bits[place] === null) return [];
  const gold = {math: "gold solution ", choice: "gold choice ", prose: ""}[shown.set.kind];
  const from = other && other.bits[place] !== null && other !== arm
    ? ` (${signed(arm.bits[place] - other.bits[place])})` : "";
  const said = `${gold}${bits(arm.bits[place])} bits/byte${from}`;
  if (prose) return [element("p", "", said)];
  const folded = element("details", "likelihood");
  folded.append(element("summary", "quiet", "likelihood"), element("p", "quiet", said));
  return [folded];
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
  const head = element("h3");
  head.append(marked(element("span"), visible(set.ids[place]), state.query));
  const named = OUTCOMES.find(([key]) => key === kind);
  if (named) head.append(" ", element("span", `verdict ${named[2]}`, named[1]));
  if (set.kind !== "prose") head.append(" ", fact("gold", brief(text(set.golds[place]))));
  if (set.families[place] >= 0) head.append(" ", fact("family", brief(text(set.families[place]))));
  const link = element("a", "permalink", "link");
  link.href = `#answers?${address({problem: set.ids[place]})}`;
  link.setAttribute("aria-label", `link to ${brief(visible(set.ids[place]))}`);
  head.append(" ", link);
  item.append(head);
  if (set.questions[place] >= 0)
    item.append(...passage("p", "question", text(set.questions[place]), state.query));
  if ((set.choices[place] ?? []).length) item.append(choices(place));
  const sides = element("div", "sides");
  sides.append(side(shown.left, place), side(shown.right, place, shown.left));
  if (shown.third) sides.append(side(shown.third, place, shown.left));
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
      remember();
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
  if (state.problem) status.append(`, only ${brief(visible(state.problem))} `, alone());
  metrics();
  if (linked) remember();
  draw();
}

/** Make the button that shows all problems again. */
function alone() {
  const made = element("button", "", "show all");
  made.type = "button";
  made.addEventListener("click", () => {
    state.problem = "";
    refresh();
  });
  return made;
}

/** Set what the chosen runs did on all of these problems side by side. */
function metrics() {
  const box = browser.querySelector(".metrics"), set = shown.set;
  const mean = (arm, value) => {
    const own = set.ids.map((id, i) => (arm.right[i] === " " ? null : value(arm, i))).filter(v => v !== null);
    return own.length ? own.reduce((sum, v) => sum + Number(v), 0) / own.length : null;
  };
  const share = value => (value === null ? "–" : `${(100 * value).toFixed(1)}%`);
  const columns = {prose: [], choice: [["right", (a, i) => a.right[i] === "1", share]], math: [
    ["right", (a, i) => a.right[i] === "1", share], ["no answer", (a, i) => a.values[i] < 0, share],
    ["truncated", (a, i) => a.stops[i] === "c", share],
    ["tokens", (a, i) => a.tokens[i], v => (v === null ? "–" : v.toFixed(1))],
  ]}[set.kind].concat([["bits per byte of gold", (a, i) => a.bits[i], v => (v === null ? "–" : bits(v))]]);
  const row = (tag, name, texts) => {
    const made = element("tr"), first = element("th", "", name);
    first.scope = tag === "th" ? "col" : "row";
    made.append(first, ...texts.map(text => element(tag, "n", text)));
    return made;
  };
  const arms = [...new Set([shown.left, shown.right, shown.third].filter(Boolean))];
  const head = element("thead"), body = element("tbody");
  head.append(row("th", "on all of these problems", arms.map(armName)));
  body.append(...columns.map(([name, value, write]) =>
    row("td", name, arms.map(arm => write(mean(arm, value))))));
  box.replaceChildren(head, body);
}

// --- the address: what is shown can be sent to somebody -------------------------------------------

/** Write what is shown as the fragment of an address. */
function address(also = {}) {
  const set = shown.set;
  const found = {model: set.model, trained: set.trained_on, asked: set.asked, left: armName(shown.left),
    right: armName(shown.right), third: shown.third ? armName(shown.third) : "", outcome: state.outcome,
    none: state.none, cut: state.cut, every: state.every, query: state.query, family: state.family,
    problem: state.problem, order: state.order, page: state.page, ...also};
  const quiet = {outcome: "all", order: "asked", page: 0};
  return new URLSearchParams(Object.entries(found)
    .filter(([name, value]) => value && value !== quiet[name]).map(([name, value]) => [name, String(value)]));
}

function remember() {
  history.replaceState(null, "", `#answers?${address()}`);
}

/** Show what an address tells; a name that is not here leaves what is shown as it is. */
function restore(fragment) {
  const told = new URLSearchParams(fragment), get = name => told.get(name) ?? "";
  const set = data.sets.findIndex(s =>
    s.model === get("model") && s.trained_on === get("trained") && s.asked === get("asked"));
  if (set < 0) return;
  Object.assign(state, {set, outcome: "all", none: false, cut: false, every: false, query: "", problem: "",
    family: ""});
  field("set").value = set;
  pickSet();
  for (const name of ["left", "right", "third"]) {
    const arm = shown.set.arms.findIndex(a => armName(a) === get(name));
    if (arm < 0) continue;
    state[name] = arm;
    field(name).value = arm;
  }
  if (["lost", "gained", "right", "wrong"].includes(get("outcome"))) state.outcome = get("outcome");
  for (const name of Object.keys(FLAGS)) state[name] = get(name) === "true";
  Object.assign(state, {query: get("query"), family: get("family"), problem: get("problem")});
  field("query").value = state.query;
  field("family").value = state.family;
  if (["worse", "better"].includes(get("order"))) field("order").value = state.order = get("order");
  pickArms();
  state.page = Math.min(Number(get("page")) || 0, Math.max(0, Math.ceil(state.rows.length / CARDS) - 1));
  draw();
}

function follow() {
  const [place, fragment] = location.hash.slice(1).split("?");
  if (place !== "answers" || !fragment) return;
  linked = true;
  document.getElementById("answer-details").open = true;
  restore(fragment);
  section.scrollIntoView();
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
    linked = true;
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
  shown.third = shown.set.arms[state.third];
  for (const input of flagChips.querySelectorAll("input")) {
    const fits = input.value === "every" ? seeds().length > 1 : shown.set.kind === "math";
    input.parentElement.hidden = !fits;
    if (!fits) state[input.value] = false;
  }
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
  state.third = before?.third ? named(before.third, -1) : -1;
  for (const name of ["left", "right", "third"]) {
    const none = name === "third" ? [option("none", -1)] : [];
    field(name).replaceChildren(...none, ...set.arms.map((arm, i) => option(armName(arm), i)));
    field(name).value = state[name];
  }
  const scored = set.kind !== "prose";
  outcomeChips.hidden = flagChips.hidden = !scored;
  if (!scored) state.outcome = "all";
  const families = [...new Set(set.families)].filter(place => place >= 0).map(text).sort();
  field("family").replaceChildren(option("all", ""), ...families.map(name => option(visible(name), name)));
  field("family").parentElement.hidden = families.length < 2;
  if (!families.includes(state.family)) state.family = "";
  field("family").value = state.family;
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
  chip(flagChips, "checkbox", "every", "lost in every seed");
  chip(flagChips, "checkbox", "none", "no answer");
  chip(flagChips, "checkbox", "cut", "a truncated answer");
  for (const [name, pick] of [["set", pickSet], ["left", pickArms], ["right", pickArms], ["third", pickArms]])
    field(name).addEventListener("change", () => {
      state[name] = Number(field(name).value);
      state.problem = "";
      linked = true;
      pick();
    });
  for (const name of ["order", "family"])
    field(name).addEventListener("change", () => {
      state[name] = field(name).value;
      linked = true;
      refresh();
    });
  field("query").addEventListener("input", () => {
    state.query = visible(field("query").value);
    linked = true;
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
  for (const link of document.querySelectorAll("[data-see]")) link.href = `#answers?${link.dataset.see}`;
  addEventListener("hashchange", follow);
  follow();
}

if (browser) open();
})();
