"use strict";

// The TA image: drawn from the values that the page holds, looked into with the mouse, the keyboard or a finger.
(() => {
  const data = JSON.parse(document.getElementById("ta-data").textContent);
  const canvas = document.getElementById("ta-canvas");
  const context = canvas.getContext("2d");
  const LARGEST = 80; // screen pixels of an image pixel
  const OUTLINE = "rgb(0 0 0 / 0.7)";
  const DEGREE = 180 / Math.PI;

  const images = data.images.map(decoded);
  let image = images[data.used];
  let view = null; // middle (x, y) of the canvas in the image, and screen pixels of an image pixel
  let cursor = null; // place (x, y) in the image
  let bright = 0;

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  function decoded(raw) {
    const values = new Float32Array(bytes(raw.values).buffer);
    const flags = bytes(raw.bad);
    const bad = (k) => ((flags[k >> 3] >> (k & 7)) & 1) === 1;
    return { ...raw, values, bad, grays: values.map((value, k) => (bad(k) ? -1 : gray(raw.levels, value))) };
  }

  function gray(levels, value) {
    let low = 0;
    let high = levels.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (levels[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return Math.max(low - 1, 0);
  }

  // ---- positions

  function fit() {
    return Math.min(canvas.clientWidth / image.width, canvas.clientHeight / image.height);
  }

  function showAll() {
    view = { x: image.x0 + (image.width - 1) / 2, y: image.y0 + (image.height - 1) / 2, scale: fit() };
  }

  function toScreen(x, y) {
    return [
      (x - view.x) * view.scale + canvas.clientWidth / 2,
      canvas.clientHeight / 2 - (y - view.y) * view.scale,
    ];
  }

  function toImage(left, top) {
    return [
      view.x + (left - canvas.clientWidth / 2) / view.scale,
      view.y - (top - canvas.clientHeight / 2) / view.scale,
    ];
  }

  function clamp(value, low, high) {
    return low > high ? (low + high) / 2 : Math.min(Math.max(value, low), high);
  }

  function keepInside() {
    view.scale = clamp(view.scale, fit(), Math.max(LARGEST, fit()));
    const across = canvas.clientWidth / view.scale / 2;
    const along = canvas.clientHeight / view.scale / 2;
    view.x = clamp(view.x, image.x0 - 0.5 + across, image.x0 + image.width - 0.5 - across);
    view.y = clamp(view.y, image.y0 - 0.5 + along, image.y0 + image.height - 0.5 - along);
  }

  // The place (x, y) stays where it is on the screen.
  function zoom(factor, x = view.x, y = view.y) {
    const before = view.scale;
    view.scale = clamp(before * factor, fit(), Math.max(LARGEST, fit()));
    view.x = x + (view.x - x) * (before / view.scale);
    view.y = y + (view.y - y) * (before / view.scale);
    draw();
  }

  function sky(x, y) {
    const model = image.sky;
    if (!model) return null;
    const u = (x - model.middle[0]) / model.half[0];
    const v = (y - model.middle[1]) / model.half[1];
    const plane = [1, 0, 0];
    model.powers.forEach(([i, j], k) => {
      const term = u ** i * v ** j;
      plane[1] += term * model.terms[k][0];
      plane[2] += term * model.terms[k][1];
    });
    const [a, b, c] = [0, 1, 2].map((axis) => plane.reduce((sum, part, k) => sum + part * model.axes[k][axis], 0));
    return [(Math.atan2(b, a) * DEGREE + 360) % 360, Math.atan2(c, Math.hypot(a, b)) * DEGREE];
  }

  // ---- drawing

  function paint() {
    const { width, height, grays } = image;
    const picture = new ImageData(width, height);
    const badColor = [1, 3, 5].map((k) => parseInt(data.badColor.slice(k, k + 2), 16));
    const power = 2 ** -bright;
    grays.forEach((level, k) => {
      const row = height - 1 - Math.floor(k / width);
      const shade = 255 * (level / Math.max(image.levels.length - 1, 1)) ** power;
      picture.data.set(level < 0 ? [...badColor, 255] : [shade, shade, shade, 255], 4 * (row * width + (k % width)));
    });
    image.painted = new OffscreenCanvas(width, height);
    image.painted.getContext("2d").putImageData(picture, 0, 0);
  }

  function draw() {
    if (!canvas.clientWidth) return; // not shown
    keepInside();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    canvas.classList.toggle("zoomed", view.scale > fit() * 1.001);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = false;
    const [left, top] = toScreen(image.x0 - 0.5, image.y0 + image.height - 0.5);
    context.drawImage(image.painted, left, top, image.width * view.scale, image.height * view.scale);
    drawCursor();
    drawMarks();
    drawCompass();
  }

  // The outlines of all marks are under all of them: none hides another.
  function drawMarks() {
    const shown = Object.entries(image.marks).filter(([label]) => box(label).checked);
    const paths = shown.map(([label, place]) => {
      const { path, radius } = data.marks[label];
      const moved = new Path2D();
      moved.addPath(new Path2D(path), new DOMMatrix([radius, 0, 0, radius, ...toScreen(...place)]));
      return [moved, data.marks[label].color];
    });
    paths.forEach(([path]) => line(path, OUTLINE, 3.5));
    paths.forEach(([path, color]) => line(path, color, 1.8));
  }

  function line(path, color, width) {
    context.lineWidth = width;
    context.strokeStyle = color;
    context.stroke(path);
  }

  function stroke(path, color, width) {
    line(path, OUTLINE, width + 2);
    line(path, color, width);
  }

  function drawCursor() {
    if (!cursor || document.activeElement !== canvas) return;
    const [left, top] = toScreen(...cursor);
    const path = new Path2D();
    path.moveTo(left - 14, top);
    path.lineTo(left - 4, top);
    path.moveTo(left + 4, top);
    path.lineTo(left + 14, top);
    path.moveTo(left, top - 14);
    path.lineTo(left, top - 4);
    path.moveTo(left, top + 4);
    path.lineTo(left, top + 14);
    stroke(path, "#fff", 1.8);
  }

  // Arrows to the north and the east at the middle of the view, in the lower left corner.
  function drawCompass() {
    const here = sky(view.x, view.y);
    if (!here) return;
    const [right, up] = [sky(view.x + 1, view.y), sky(view.x, view.y + 1)].map(([ra, dec]) => [
      ((((ra - here[0] + 540) % 360) - 180) * Math.cos(here[1] / DEGREE)),
      dec - here[1],
    ]);
    const determinant = right[0] * up[1] - right[1] * up[0];
    const arrows = { E: [up[1], -right[1]], N: [-up[0], right[0]] };
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    Object.entries(arrows).forEach(([label, [x, y]]) => {
      const length = Math.hypot(x, y) * Math.sign(determinant);
      const [dx, dy] = [x / length, -y / length];
      const [left, top] = [46, canvas.clientHeight - 46];
      const path = new Path2D();
      path.moveTo(left, top);
      path.lineTo(left + 24 * dx, top + 24 * dy);
      path.lineTo(left + 24 * dx - 6 * dx + 4 * dy, top + 24 * dy - 6 * dy - 4 * dx);
      path.moveTo(left + 24 * dx, top + 24 * dy);
      path.lineTo(left + 24 * dx - 6 * dx - 4 * dy, top + 24 * dy - 6 * dy + 4 * dx);
      stroke(path, "#fff", 1.5);
      context.lineWidth = 3;
      context.strokeStyle = OUTLINE;
      context.strokeText(label, left + 35 * dx, top + 35 * dy);
      context.fillStyle = "#fff";
      context.fillText(label, left + 35 * dx, top + 35 * dy);
    });
  }

  // ---- text

  function box(label) {
    return document.querySelector(`input[data-mark="${label}"]`);
  }

  function write(name, text) {
    document.querySelector(`[data-read="${name}"]`).textContent = text;
  }

  function minus(text) {
    return text.replace(/-/g, "−");
  }

  function short(value, digits) {
    return minus(Number(value.toPrecision(digits)).toString());
  }

  function valueAt(x, y) {
    const column = Math.round(x - image.x0);
    const row = Math.round(y - image.y0);
    if (column < 0 || row < 0 || column >= image.width || row >= image.height) return null;
    const k = row * image.width + column;
    const text = Number.isFinite(image.values[k]) ? `${short(image.values[k], 6)} ${image.units}` : "NaN";
    return image.bad(k) ? `${text} (bad pixel)` : text;
  }

  // What is written belongs to the place as it is written, to a hundredth of a pixel.
  function read(place, aloud = false) {
    const [x, y] = place.map((value) => Math.round(value * 100) / 100);
    const value = valueAt(x, y);
    const world = value === null ? null : sky(x, y);
    const texts = {
      x: value === null ? "–" : minus(x.toFixed(2)),
      y: value === null ? "–" : minus(y.toFixed(2)),
      ra: world ? world[0].toFixed(8) : "–",
      dec: world ? minus(world[1].toFixed(8)) : "–",
      value: value ?? "–",
    };
    Object.entries(texts).forEach(([name, text]) => write(name, text));
    if (aloud) {
      document.getElementById("ta-status").textContent =
        `x ${texts.x}, y ${texts.y}, RA ${texts.ra}, Dec ${texts.dec}, value ${texts.value}`;
    }
  }

  function describe() {
    const { levels, units } = image;
    document.getElementById("ta-scale").textContent = levels.length
      ? `Black is ${short(levels[0], 3)}, white ${short(levels[levels.length - 1], 3)} ${units}, asinh between; ` +
        "bad pixels are purple."
      : "No pixel of this image is good.";
    document.querySelectorAll("[data-place]").forEach((element) => {
      const place = image.marks[element.dataset.place];
      element.textContent = place ? place.map((value) => minus(value.toFixed(2))).join(", ") : "–";
      box(element.dataset.place).disabled = !place;
    });
  }

  function choose(k) {
    image = images[k];
    canvas.style.aspectRatio = `${image.width} / ${image.height}`;
    cursor = null;
    paint();
    describe();
    showAll();
    draw();
  }

  // ---- events

  function at(event) {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  const pointers = new Map();

  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, at(event));
    canvas.setPointerCapture(event.pointerId);
    cursor = toImage(...at(event));
    read(cursor);
    draw();
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const now = at(event);
    if (before) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
        zoom(apart(now) / Math.max(apart(before), 1), ...toImage(...other));
      } else {
        view.x -= (now[0] - before[0]) / view.scale;
        view.y += (now[1] - before[1]) / view.scale;
        draw();
      }
      pointers.set(event.pointerId, now);
    }
    read(toImage(...now));
  });

  ["pointerup", "pointercancel"].forEach((name) =>
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId)),
  );

  canvas.addEventListener(
    "wheel",
    (event) => {
      // Nothing more to show: the page scrolls on.
      if (event.deltaY > 0 && view.scale <= fit() * 1.001) return;
      event.preventDefault();
      const turned = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 40 : 1);
      zoom(2 ** (-clamp(turned, -120, 120) / 240), ...toImage(...at(event)));
      read(toImage(...at(event)));
    },
    { passive: false },
  );

  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = MOVES[event.key];
    if (move) moveCursor(move, event.shiftKey ? 0.1 : 1);
    else if (event.key === "+" || event.key === "=") zoom(1.5, ...(cursor ?? [view.x, view.y]));
    else if (event.key === "-") zoom(1 / 1.5, ...(cursor ?? [view.x, view.y]));
    else if (event.key === "0") {
      showAll();
      draw();
    } else return;
    event.preventDefault();
  });

  function moveCursor([dx, dy], step) {
    const from = cursor ?? [Math.round(view.x) - dx * step, Math.round(view.y) - dy * step];
    cursor = [
      clamp(from[0] + dx * step, image.x0, image.x0 + image.width - 1),
      clamp(from[1] + dy * step, image.y0, image.y0 + image.height - 1),
    ];
    const [left, top] = toScreen(...cursor);
    if (left < 0 || top < 0 || left > canvas.clientWidth || top > canvas.clientHeight) {
      [view.x, view.y] = cursor;
    }
    draw();
    read(cursor, true);
  }

  ["focus", "blur"].forEach((name) => canvas.addEventListener(name, draw));
  document.querySelectorAll("input[data-mark]").forEach((input) => input.addEventListener("change", draw));
  document.getElementById("ta-bright").addEventListener("input", (event) => {
    bright = Number(event.target.value);
    paint();
    draw();
  });
  document.getElementById("ta-exposure")?.addEventListener("change", (event) => choose(Number(event.target.value)));
  const buttons = { in: () => zoom(1.5), out: () => zoom(1 / 1.5), all: () => (showAll(), draw()) };
  document.querySelectorAll("[data-zoom]").forEach((button) =>
    button.addEventListener("click", buttons[button.dataset.zoom]),
  );

  let width = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth === width) return;
    if (width) view.scale *= canvas.clientWidth / width;
    else showAll();
    width = canvas.clientWidth;
    draw();
  }).observe(canvas);

  choose(document.getElementById("ta-exposure")?.value ?? data.used);
  width = canvas.clientWidth;
})();
