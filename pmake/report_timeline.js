// The timeline: one canvas as large as what is seen of it. Each lane is sorted and its bars do not
// overlap, so that drawing and pointing find their bars by halving; what is thinner than a pixel is
// drawn once.

const kAxis = 26;    // pixels, as .corner in report.css
const kHostGap = 12;
const kLeast = 200;  // microseconds: the closest view

const timeline = {
  view: {from: 0, to: build.end},
  selected: null,   // a recipe
  hovered: null,    // a bar
  brush: null,      // {x0, x1} while a range is dragged
  frame: 0,

  start() {
    this.scroller = element('scroller');
    this.plot = element('plot');
    this.overview = element('overview');
    this.layOut();
    this.readColours();
    const again = () => this.resize();
    new ResizeObserver(again).observe(this.scroller);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.readColours();
      again();
    });
    this.scroller.addEventListener('scroll', () => this.draw());
    filter.listeners.push(() => this.draw());
    startPointers(this);
    this.resize();
  },

  /** Gives each host its place, and its label. */
  layOut() {
    const lanes = sum(build.hosts, (host) => host.lanes.length);
    this.lane = lanes <= 36 ? 18 : lanes <= 90 ? 13 : 9;
    let y = 6;
    const labels = element('labels');
    labels.append(make('div', {class: 'corner'}));
    for (const host of build.hosts) {
      host.y = y;
      host.height = Math.max(host.lanes.length * this.lane, 32);  // two lines of label
      const bars = host.lanes.flat();
      const share = Math.min(1, sum(bars, length) / (build.end * host.lanes.length));
      const label = make('div', {class: 'host', title: host.name},
        make('div', {class: 'name'}, host.name, host.home ? ' ⌂' : ''),
        make('div', {class: 'muted'}, host.home ? `home, ${percent(share)}` : `${percent(share)} busy`));
      label.style.top = `${kAxis + y}px`;
      label.style.height = `${host.height}px`;
      labels.append(label);
      y += host.height + kHostGap;
    }
    this.height = y;
    element('lanes').style.height = `${kAxis + y}px`;
    this.scroller.setAttribute('aria-label', `Timeline of ${plural(build.recipes.length, 'recipe')} on ` +
      `${plural(build.hosts.length, 'host')}. The table "All recipes" below holds the same.`);
  },

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colour = {};
    for (const name of ['card', 'ink', 'muted', 'line', 'band', 'accent', 'halo']) this.colour[name] = get(name);
    for (const kind of Object.keys(kinds)) {
      this.colour[kind] = get(kind);
      this.colour[`on-${kind}`] = get(`on-${kind}`);
    }
    this.font = `10.5px ${get('mono')}`;
    this.hatched = this.hatch(this.colour.lost, this.colour.card);
  },
  hatch(colour, ground) {
    const tile = make('canvas', {width: 8, height: 8}), c = tile.getContext('2d');
    c.fillStyle = colour;
    c.fillRect(0, 0, 8, 8);
    c.strokeStyle = ground;
    c.lineWidth = 2;
    c.beginPath();
    for (const at of [-8, 0, 8]) { c.moveTo(at - 1, 9); c.lineTo(at + 9, -1); }
    c.stroke();
    return c.createPattern(tile, 'repeat');
  },

  resize() {
    const fit = (canvas, width, height) => {
      const ratio = window.devicePixelRatio || 1;
      canvas.style.height = `${height}px`;
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
      canvas.getContext('2d').setTransform(ratio, 0, 0, ratio, 0, 0);
    };
    this.width = Math.max(1, this.plot.clientWidth);
    const most = Math.min(innerHeight * 0.72, 900);
    this.shown = Math.min(kAxis + this.height, most);
    fit(this.plot, this.width, this.shown);
    fit(this.overview, this.overview.clientWidth, 56);
    this.load = null;
    this.paint();
  },

  // --- what is seen

  x(time) { return (time - this.view.from) / (this.view.to - this.view.from) * this.width; },
  time(x) { return this.view.from + x / this.width * (this.view.to - this.view.from); },
  whole() { return this.view.from <= 0 && this.view.to >= build.end; },

  /** Shows [from, to], or as much of it as there is. */
  look(from, to) {
    const span = Math.min(build.end, Math.max(kLeast, to - from));
    const start = Math.min(Math.max(0, (from + to) / 2 - span / 2), build.end - span);
    this.view = {from: start, to: start + span};
    this.draw();
  },
  zoom(factor, around) {
    const {from, to} = this.view;
    const middle = around === undefined ? (from + to) / 2 : around;
    const span = Math.min(build.end, Math.max(kLeast, (to - from) / factor));
    const start = middle - (middle - from) * span / (to - from);
    this.look(start, start + span);
  },
  pan(share) {
    const step = share * (this.view.to - this.view.from);
    this.look(this.view.from + step, this.view.to + step);
  },
  show(recipe) {
    const margin = Math.max(recipe.to - recipe.from, build.end / 500);
    this.look(recipe.from - margin, recipe.to + margin);
    this.select(recipe);
    this.scroller.scrollIntoView({block: 'nearest'});
    this.scroller.focus({preventScroll: true});
  },
  select(recipe) {
    this.selected = recipe;
    element('spoken').textContent = recipe ? `${recipe.name}: ${story(recipe)}` : '';
    if (recipe) {
      const bar = recipe.bars[0], top = bar.host.y + bar.slot * this.lane;
      if (top < this.scroller.scrollTop || top + 60 > this.scroller.scrollTop + this.shown)
        this.scroller.scrollTop = top - this.shown / 2;
      if (recipe.to < this.view.from || recipe.from > this.view.to) {
        const span = this.view.to - this.view.from;
        this.look(recipe.from - span / 2, recipe.from + span / 2);
      }
      const at = this.plot.getBoundingClientRect();
      const x = Math.min(Math.max(0, this.x((recipe.from + recipe.to) / 2)), this.width);
      showTip(bar, at.left + x, at.top + kAxis + top - this.scroller.scrollTop + this.lane);
    } else {
      hideTip();
    }
    this.draw();
  },

  /** The first bar of a lane that ends after `time`. */
  firstAfter(lane, time) {
    let low = 0, high = lane.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lane[middle].to > time) high = middle; else low = middle + 1;
    }
    return low;
  },
  /** The bar at a point of the canvas, or the next to it within a few pixels. */
  hit(x, y) {
    const deep = y - kAxis + this.scroller.scrollTop;
    if (y < kAxis) return null;
    const host = build.hosts.find((one) => deep >= one.y && deep < one.y + one.height);
    const lane = host && host.lanes[Math.floor((deep - host.y) / this.lane)];
    if (!lane) return null;
    const time = this.time(x), near = this.time(x + 3) - time;
    let best = null, least = near;
    for (let i = this.firstAfter(lane, time - near); i < lane.length && lane[i].from <= time + near; ++i) {
      const away = Math.max(lane[i].from - time, time - lane[i].to, 0);
      if (away <= least && filter.bar(lane[i])) { best = lane[i]; least = away; }
    }
    return best;
  },

  // --- drawing

  draw() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.paint());
  },
  paint() {
    this.frame = 0;
    const c = this.plot.getContext('2d');
    c.clearRect(0, 0, this.width, this.shown);
    const step = this.stepOfAxis();
    c.save();
    c.beginPath();
    c.rect(0, kAxis, this.width, this.shown - kAxis);
    c.clip();
    c.translate(0, kAxis - this.scroller.scrollTop);
    this.paintGround(c, step);
    for (const host of build.hosts) {
      if (host.y > this.scroller.scrollTop + this.shown || host.y + host.height < this.scroller.scrollTop) continue;
      host.lanes.forEach((lane, slot) => this.paintLane(c, lane, host.y + slot * this.lane));
    }
    this.paintArrows(c);
    c.restore();
    this.paintAxis(c, step);
    if (this.brush) this.paintBrush(c);
    paintOverview(this);
    element('zoom-all').disabled = element('zoom-out').disabled = this.whole();
  },

  /** Microseconds between two marks: at least 90 pixels, and a round figure for people. */
  stepOfAxis() {
    const least = (this.view.to - this.view.from) / this.width * 90;
    for (let power = 10; power < 1e6; power *= 10)
      for (const digit of [1, 2, 5]) if (digit * power >= least) return digit * power;
    for (const step of [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400])
      if (step * 1e6 >= least) return step * 1e6;
    return Math.ceil(least / 86400e6) * 86400e6;
  },
  *marks(step) {
    for (let t = Math.ceil(this.view.from / step) * step; t <= this.view.to; t += step) yield t;
  },
  paintGround(c, step) {
    c.fillStyle = this.colour.band;
    for (const host of build.hosts) c.fillRect(0, host.y - 3, this.width, host.height + 6);
    c.fillStyle = this.colour.line;
    for (const t of this.marks(step)) c.fillRect(Math.round(this.x(t)), 0, 1, this.height);
  },
  paintAxis(c, step) {
    c.fillStyle = this.colour.muted;
    c.font = '11.5px system-ui, sans-serif';
    c.textBaseline = 'middle';
    for (const t of this.marks(step)) {
      const x = this.x(t), text = instant(t, step), half = c.measureText(text).width / 2;
      c.fillText(text, Math.min(Math.max(0, x - half), this.width - 2 * half), kAxis / 2 - 1);
    }
    c.fillStyle = this.colour.line;
    c.fillRect(0, kAxis - 1, this.width, 1);
  },

  paintLane(c, lane, y) {
    const height = this.lane - (this.lane > 12 ? 3 : this.lane > 9 ? 2 : 1);
    let painted = -1, paintedKind = '';
    for (let i = this.firstAfter(lane, this.view.from); i < lane.length && lane[i].from < this.view.to; ++i) {
      const bar = lane[i];
      const left = Math.max(-8, this.x(bar.from)), right = Math.min(this.width + 8, this.x(bar.to));
      if (right < painted + 0.5 && bar.kind === paintedKind) continue;
      painted = Math.max(right, left + 1);
      paintedKind = bar.kind;
      const width = Math.max(1, right - left - (right - left > 3 ? 1 : 0));
      const chosen = bar.recipe === this.selected || bar === this.hovered;
      c.globalAlpha = filter.bar(bar) ? 1 : 0.1;
      c.fillStyle = bar.kind === 'lost' ? this.hatched : this.colour[bar.kind];
      this.block(c, left, y, width, height);
      if (chosen) {
        c.strokeStyle = this.colour.ink;
        c.lineWidth = 2;
        c.strokeRect(left, y, width, height);
      }
      if (width > 36 && height >= 11) this.paintName(c, bar, Math.max(0, left), left + width, y + height / 2);
    }
    c.globalAlpha = 1;
  },
  block(c, x, y, width, height) {
    if (width <= 12 || !c.roundRect) return c.fillRect(x, y, width, height);
    c.beginPath();
    c.roundRect(x, y, width, height, height > 10 ? 3 : 2);
    c.fill();
  },
  paintName(c, bar, left, right, y) {
    c.font = this.font;
    if (this.letter === undefined) this.letter = c.measureText('0').width;
    const room = Math.floor((right - left - 9) / this.letter);
    if (room < 4 || bar.kind === 'lost') return;
    const name = bar.recipe.name.slice(bar.recipe.target ? bar.recipe.target.replace(/\/+$/, '').lastIndexOf('/') + 1 : 0);
    c.fillStyle = this.colour[`on-${bar.kind}`];
    c.textBaseline = 'middle';
    c.fillText(name.length <= room ? name : name.slice(0, room - 1) + '…', left + 5, y + 0.5);
  },

  /** From the end of one stay to the beginning of the next: they are at one time. */
  paintArrows(c) {
    const near = (this.view.to - this.view.from) / 50;
    const bars = [];
    for (const recipe of build.recipes) {
      if (recipe.bars.length < 2 || recipe.to < this.view.from - near || recipe.from > this.view.to + near) continue;
      for (let i = 1; i < recipe.bars.length; ++i)
        if (filter.bar(recipe.bars[i]) && filter.bar(recipe.bars[i - 1])) bars.push([recipe.bars[i - 1], recipe.bars[i]]);
    }
    const seen = bars.filter(([, next]) => this.x(next.from) > -30 && this.x(next.from) < this.width + 30);
    // Too many hide the bars, and none of them could be followed.
    const all = seen.length <= 200;
    element('arrows').textContent = all ? '' : `Zoom in for ${plural(seen.length, 'arrow')}`;
    for (const [one, next] of seen.filter((pair) => all || pair[0].recipe === this.selected))
      this.paintArrow(c, this.x(next.from), this.middle(one), this.middle(next),
        one.kind === 'lost' ? this.colour.lost : this.colour.ink);
  },
  middle(bar) { return bar.host.y + bar.slot * this.lane + (this.lane - 2) / 2; },
  paintArrow(c, x, y0, y1, colour) {
    const line = () => {
      c.beginPath();
      c.moveTo(x - 2, y0);
      c.bezierCurveTo(x + 16, y0, x - 20, y1, x - 1, y1);
      c.stroke();
    };
    c.lineCap = 'round';
    c.strokeStyle = this.colour.halo;
    c.lineWidth = 4.5;
    line();
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = 1.6;
    line();
    c.beginPath();
    c.arc(x - 2, y0, 2.6, 0, 2 * Math.PI);
    c.moveTo(x + 3, y1);
    c.lineTo(x - 4, y1 - 4);
    c.lineTo(x - 4, y1 + 4);
    c.fill();
  },
  paintBrush(c) {
    const left = Math.min(this.brush.x0, this.brush.x1), right = Math.max(this.brush.x0, this.brush.x1);
    c.fillStyle = c.strokeStyle = this.colour.accent;
    c.globalAlpha = 0.16;
    c.fillRect(left, kAxis, right - left, this.shown - kAxis);
    c.globalAlpha = 1;
    c.lineWidth = 1;
    c.strokeRect(Math.round(left) + 0.5, kAxis + 0.5, Math.round(right - left), this.shown - kAxis - 1);
    const text = lasting(this.time(right) - this.time(left));
    c.font = '600 12px system-ui, sans-serif';
    c.fillText(text, Math.min(left + 6, this.width - c.measureText(text).width - 4), kAxis + 13);
  },
};
