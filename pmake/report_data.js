'use strict';
// The data of the page, and words for it. Times are microseconds from the build's beginning.

const element = (id) => document.getElementById(id);

const kinds = {
  out: 'ran on another host',
  moved: 'moved while it ran',
  home: 'ran at home',
  lost: 'lost here',
  rerun: 'run again at home',
};

/** hosts[]: {name, home, index, slots, lanes: [[bar]]}; recipes[]: {target, command, whyHome, bars, ...};
 *  a bar is one stay: {recipe, host, slot, from, to, kind, why}. */
function read(text) {
  const raw = JSON.parse(text);
  const hosts = raw.hosts.map((name, index) => ({name, index, home: index === 0, lanes: []}));
  const recipes = raw.recipes.map((one, index) => {
    const recipe = {index, target: one.t, command: one.c, whyHome: one.w || '', unfinished: !!one.u};
    recipe.bars = one.s.map((stay) => ({
      recipe, host: hosts[stay.h], slot: stay.l, kind: stay.k, from: stay.f, to: stay.e, why: stay.w || '',
    }));
    for (const bar of recipe.bars) {
      while (bar.host.lanes.length <= bar.slot) bar.host.lanes.push([]);
      bar.host.lanes[bar.slot].push(bar);
    }
    recipe.from = recipe.bars[0].from;
    recipe.to = recipe.bars[recipe.bars.length - 1].to;
    recipe.lost = recipe.bars.some((bar) => bar.kind === 'lost');
    recipe.moves = recipe.bars.length - 1 - (recipe.lost ? 1 : 0);
    recipe.kind = recipe.lost ? 'rerun' : recipe.bars[0].kind;
    recipe.work = sum(recipe.bars.filter((bar) => bar.kind !== 'lost'), length);
    recipe.name = recipe.target || recipe.command || '(no name)';
    recipe.text = (recipe.target + '\n' + recipe.command).toLowerCase();
    return recipe;
  });
  for (const host of hosts) {
    if (host.lanes.length === 0) host.lanes.push([]);
    for (const lane of host.lanes) lane.sort((a, b) => a.from - b.from);
  }
  const last = recipes.reduce((most, recipe) => Math.max(most, recipe.to), 0);
  return {hosts, recipes, cheap: raw.cheap, wall: raw.wall, end: Math.max(raw.wall, last, 1)};
}

function sum(list, of) {
  let total = 0;
  for (const one of list) total += of(one);
  return total;
}
const length = (bar) => bar.to - bar.from;
const plural = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`;
const percent = (share) => `${Math.round(100 * share)} %`;

/** A duration for people. */
function lasting(us) {
  if (us < 1e3) return `${(us / 1e3).toFixed(2)} ms`;
  if (us < 1e4) return `${(us / 1e3).toFixed(1)} ms`;
  if (us < 999.5e3) return `${Math.round(us / 1e3)} ms`;
  if (us < 9.995e6) return `${(us / 1e6).toFixed(2)} s`;
  if (us < 99.95e6) return `${(us / 1e6).toFixed(1)} s`;
  const seconds = Math.round(us / 1e6);
  const two = (n) => String(n).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min`;
}

/** An instant, for an axis whose marks are `step` apart. */
function instant(us, step) {
  const digits = step >= 1e6 ? 0 : Math.min(6, Math.ceil(-Math.log10(step / 1e6) - 1e-9));
  if (us < 60e6) return `${(us / 1e6).toFixed(digits)} s`;
  const rest = ((us / 1e6) % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, '0');
  const minutes = Math.floor(us / 60e6);
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`;
}

/** A new element: make('td', {class: 'number'}, 'text', child, ...). Text is never read as HTML. */
function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
const swatch = (kind) => make('span', {class: `swatch ${kind}`, 'aria-hidden': 'true'});

/** Where a recipe was, as a sentence for the table and for screen readers. */
function story(recipe) {
  const part = (bar, i) => (i === 0 ? '' : bar.kind === 'rerun' && recipe.bars[i - 1].kind === 'lost' ?
    ', lost there, run again on ' : ', then ') +
    `${bar.host.name}${bar.host.home ? ' (home)' : ''} ${lasting(length(bar))}${bar.why ? ` (${bar.why})` : ''}`;
  return recipe.bars.map(part).join('') + (recipe.whyHome ? `; at home: ${recipe.whyHome}` : '') +
    (recipe.unfinished ? '; did not end' : '');
}

const build = read(element('data').textContent);

/** What is searched for and which kinds are shown: one state for the timeline and the table. */
const filter = {
  text: '',
  hidden: new Set(),
  listeners: [],
  bar(bar) { return !this.hidden.has(bar.kind) && this.recipe(bar.recipe); },
  recipe(recipe) { return this.text === '' || recipe.text.includes(this.text); },
  changed() { for (const listener of this.listeners) listener(); },
};
