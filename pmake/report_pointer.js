// What hands do to the timeline: pointing, dragging, pinching, turning the wheel, keys; the tooltip; and the
// overview above it.

function showTip(bar, x, y) {
  const tip = element('tip'), recipe = bar.recipe;
  const stays = recipe.bars.map((one) => make('li', {class: one === bar || recipe.bars.length === 1 ? '' : 'other'},
    swatch(one.kind), make('span', {},
      `${one.host.name}${one.host.home ? ' (home)' : ''}, slot ${one.slot + 1}: ${lasting(length(one))}, ` +
      kinds[one.kind] + (one.why ? `. Came here: ${one.why}` : ''))));
  tip.replaceChildren(make('div', {class: 'target'}, recipe.name),
    make('div', {class: 'command'}, recipe.target ? recipe.command : ''), make('ol', {}, ...stays),
    make('div', {class: 'total muted'}, `From ${instant(recipe.from, 1e4)} to ${instant(recipe.to, 1e4)}` +
      (recipe.bars.length > 1 ? `, ${lasting(recipe.work)} in all` : '') +
      (recipe.whyHome ? `. At home: ${recipe.whyHome}` : '') + (recipe.unfinished ? '. It did not end.' : '')));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height < innerHeight ? y + 18 : Math.max(8, y - box.height - 14)}px`;
}
function hideTip() { element('tip').hidden = true; }

/** How many recipes run, over the whole build: home below, the others above it. */
function paintOverview(timeline) {
  const canvas = timeline.overview, c = canvas.getContext('2d');
  const width = Math.max(1, Math.floor(canvas.clientWidth)), height = 56, colour = timeline.colour;
  if (!timeline.load) timeline.load = loadOf(width);
  const {home, all, most} = timeline.load;
  c.clearRect(0, 0, width, height);
  c.fillStyle = colour.band;
  c.fillRect(0, 0, width, height);
  const area = (values, fill) => {
    c.beginPath();
    c.moveTo(0, height);
    values.forEach((value, x) => c.lineTo(x + 0.5, height - value / most * (height - 4)));
    c.lineTo(width, height);
    c.fillStyle = fill;
    c.fill();
  };
  area(all, colour.out);
  area(home, colour.home);
  element('overview-label').textContent = `up to ${plural(Math.round(most), 'recipe')} at once`;
  const brush = timeline.overviewBrush || timeline.view;
  const left = brush.from / build.end * width, right = brush.to / build.end * width;
  if (right - left >= width - 0.5) return;
  c.fillStyle = colour.card;
  c.globalAlpha = 0.72;
  c.fillRect(0, 0, left, height);
  c.fillRect(right, 0, width - right, height);
  c.globalAlpha = 1;
  c.strokeStyle = colour.accent;
  c.lineWidth = 1.5;
  c.strokeRect(left + 0.75, 0.75, Math.max(1.5, right - left - 1.5), height - 1.5);
}
function loadOf(bins) {
  const home = new Float64Array(bins), all = new Float64Array(bins), each = build.end / bins;
  for (const recipe of build.recipes) {
    for (const bar of recipe.bars) {
      const last = Math.min(bins - 1, Math.floor(bar.to / each));
      for (let i = Math.floor(bar.from / each); i <= last; ++i) {
        const share = Math.max(0, Math.min(bar.to, (i + 1) * each) - Math.max(bar.from, i * each)) / each;
        all[i] += share;
        if (bar.host.home) home[i] += share;
      }
    }
  }
  return {home, all, most: all.reduce((a, b) => Math.max(a, b), 1)};
}

function startPointers(timeline) {
  const plot = timeline.plot;
  const pointers = new Map();  // those that are down: id to {x, y}
  let start = null;            // {x, y, view, touch, shift, moved} of the first that went down
  const place = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return {x: event.clientX - box.left, y: event.clientY - box.top};
  };

  plot.addEventListener('pointerdown', (event) => {
    if (event.button > 1) return;
    pointers.set(event.pointerId, place(event));
    plot.setPointerCapture(event.pointerId);
    start = {...place(event), view: {...timeline.view}, touch: event.pointerType === 'touch',
      pans: event.pointerType === 'touch' || event.shiftKey || event.button === 1, moved: pointers.size > 1,
      fingers: [...pointers.values()].map((at) => at.x)};
  });
  plot.addEventListener('pointermove', (event) => {
    const at = place(event);
    if (!pointers.has(event.pointerId)) return point(event, at);
    pointers.set(event.pointerId, at);
    if (Math.abs(at.x - start.x) > 4) start.moved = true;
    if (!start.moved) return;
    hideTip();
    const {from, to} = start.view, each = (to - from) / timeline.width;
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()].map((one) => one.x), [a0, b0] = start.fingers;
      const span = (to - from) * Math.max(8, Math.abs(b0 - a0)) / Math.max(8, Math.abs(b - a));
      const held = from + (a0 + b0) / 2 * each;
      const left = held - (a + b) / 2 / timeline.width * span;
      timeline.look(left, left + span);
    } else if (start.pans) {
      timeline.look(from - (at.x - start.x) * each, to - (at.x - start.x) * each);
    } else {
      timeline.brush = {x0: start.x, x1: Math.min(Math.max(0, at.x), timeline.width)};
      timeline.draw();
    }
  });
  const up = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    const at = place(event), brush = timeline.brush;
    timeline.brush = null;
    if (event.type === 'pointercancel') return timeline.draw();
    if (brush) {
      const times = [timeline.time(brush.x0), timeline.time(brush.x1)];
      timeline.look(Math.min(...times), Math.max(...times));
    } else if (!start.moved) {
      const bar = timeline.hit(at.x, at.y);
      timeline.select(bar ? bar.recipe : null);
      if (bar) showTip(bar, event.clientX, event.clientY);
    }
  };
  plot.addEventListener('pointerup', up);
  plot.addEventListener('pointercancel', up);
  plot.addEventListener('pointerleave', () => hover(null));
  plot.addEventListener('dblclick', () => timeline.look(0, build.end));

  function hover(bar) {
    if (timeline.hovered === bar) return;
    timeline.hovered = bar;
    if (!bar && !timeline.selected) hideTip();
    timeline.draw();
  }
  function point(event, at) {
    const bar = timeline.hit(at.x, at.y);
    hover(bar);
    if (bar && (!timeline.selected || timeline.selected === bar.recipe)) showTip(bar, event.clientX, event.clientY);
  }

  plot.addEventListener('wheel', (event) => {
    const at = place(event), sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      timeline.zoom(Math.exp(-event.deltaY / 300), timeline.time(at.x));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      timeline.pan(sideways / timeline.width);
    } else {
      return;  // the page scrolls, as everywhere
    }
    hideTip();
    event.preventDefault();
  }, {passive: false});

  startOverview(timeline, place);
  element('zoom-in').addEventListener('click', () => timeline.zoom(2));
  element('zoom-out').addEventListener('click', () => timeline.zoom(0.5));
  element('zoom-all').addEventListener('click', () => timeline.look(0, build.end));
  startKeys(timeline);
}

function startOverview(timeline, place) {
  const canvas = timeline.overview;
  let start = null;  // {time, view, pans}
  const time = (event) => Math.min(Math.max(0, place(event).x / canvas.clientWidth), 1) * build.end;
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    const at = time(event), {from, to} = timeline.view;
    start = {time: at, view: {from, to}, pans: !timeline.whole() && at >= from && at <= to};
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!start) return;
    const at = time(event), by = at - start.time;
    if (start.pans) return timeline.look(start.view.from + by, start.view.to + by);
    timeline.overviewBrush = {from: Math.min(at, start.time), to: Math.max(at, start.time)};
    timeline.draw();
  });
  const up = (event) => {
    const brush = timeline.overviewBrush;
    timeline.overviewBrush = start = null;
    if (brush && event.type === 'pointerup') timeline.look(brush.from, brush.to);
    timeline.draw();
  };
  canvas.addEventListener('pointerup', up);
  canvas.addEventListener('pointercancel', up);
  canvas.addEventListener('dblclick', () => timeline.look(0, build.end));
}

function startKeys(timeline) {
  const order = [...build.recipes].sort((a, b) => a.from - b.from || a.index - b.index);
  const step = (by) => {
    const shown = order.filter((recipe) => recipe.bars.some((bar) => filter.bar(bar)));
    if (shown.length === 0) return;
    const now = timeline.selected ? shown.indexOf(timeline.selected) : -1;
    const first = by > 0 ? shown.findIndex((recipe) => recipe.to > timeline.view.from) : shown.length - 1;
    timeline.select(shown[now < 0 ? Math.max(0, first) : (now + by + shown.length) % shown.length]);
  };
  const keys = {
    '+': () => timeline.zoom(2), '=': () => timeline.zoom(2),
    '-': () => timeline.zoom(0.5), '0': () => timeline.look(0, build.end),
    Home: () => timeline.look(0, build.end),
    ArrowLeft: () => timeline.pan(-0.15), ArrowRight: () => timeline.pan(0.15),
    n: () => step(1), p: () => step(-1),
    Enter: () => timeline.selected && timeline.show(timeline.selected),
    Escape: () => timeline.select(null),
  };
  timeline.scroller.addEventListener('keydown', (event) => {
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
    act();
    event.preventDefault();
  });
}
