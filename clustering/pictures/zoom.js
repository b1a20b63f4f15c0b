// Pictures of class "zoom": +, -, whole; drag, pinch, double click; find a name. Marks keep their size on the screen, and
// as many names are shown as fit, the most important first. A mark that is pointed at or tapped is named below.
for (const figure of document.querySelectorAll("figure.zoom")) {
  const svg = figure.querySelector("svg"), said = figure.querySelector("output"), NS = svg.namespaceURI;
  const [left, top, width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const marks = [...figure.querySelectorAll("[data-label]")].sort((a, b) => a.dataset.order - b.dataset.order);
  const layer = svg.querySelector(".names"), fixed = svg.querySelectorAll("[data-scale]");
  const pen = document.createElement("canvas").getContext("2d");
  const font = getComputedStyle(document.body).fontFamily;
  const whole = svg.getAttribute("viewBox"), names = layer.innerHTML;  // as written, for paper
  let view = null, chosen = null;

  const fit = () => {
    const box = svg.getBoundingClientRect(), unit = Math.max(width / box.width, height / box.height);
    view = { unit, x: left + (width - box.width * unit) / 2, y: top + (height - box.height * unit) / 2 };
    draw();
  };
  const clamp = (value, from, size, shown) => shown >= size ? from + (size - shown) / 2 : Math.min(Math.max(value, from), from + size - shown);
  const draw = () => {
    const box = svg.getBoundingClientRect(), { unit } = view;
    if (!box.width) return;
    svg.style.touchAction = box.width * unit < width - 1 || box.height * unit < height - 1 ? "none" : "pan-y";
    view.x = clamp(view.x, left, width, box.width * unit); view.y = clamp(view.y, top, height, box.height * unit);
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${box.width * unit} ${box.height * unit}`);
    for (const mark of marks) if (mark.dataset.r) mark.setAttribute("r", mark.dataset.r * unit);
    for (const mark of fixed) mark.setAttribute("transform", `translate(${mark.dataset.x} ${mark.dataset.y}) scale(${unit})`);
    layer.replaceChildren();
    pen.font = `12px ${font}`;
    const taken = [];
    for (const mark of chosen ? [chosen, ...marks.filter((other) => other !== chosen)] : marks) {
      const x = (mark.dataset.x - view.x) / unit, y = (mark.dataset.y - view.y) / unit;
      if (x < -4 || y < -4 || x > box.width + 4 || y > box.height + 4) continue;
      const long = pen.measureText(mark.dataset.label).width + 4, gap = +(mark.dataset.r || 0) + 4;
      for (const start of mark.dataset.side ? [x + gap] : [x + gap, x - gap - long]) {
        const area = [start, y - 7, start + long, y + 7];
        if (area[0] < 0 || area[2] > box.width) continue;
        if (taken.some((b) => area[0] < b[2] && area[2] > b[0] && area[1] < b[3] && area[3] > b[1])) continue;
        taken.push(area);
        const text = document.createElementNS(NS, "text");
        text.setAttribute("x", view.x + (start + 2) * unit); text.setAttribute("y", view.y + (y + 4) * unit);
        text.setAttribute("font-size", 12 * unit); text.setAttribute("stroke-width", 3 * unit);
        if (mark === chosen) text.setAttribute("font-weight", "700");
        text.textContent = mark.dataset.label;
        layer.append(text);
        break;
      }
    }
  };
  const zoom = (factor, x, y) => {
    const box = svg.getBoundingClientRect(), most = Math.max(width / box.width, height / box.height);
    const px = x === undefined ? box.width / 2 : x - box.left, py = y === undefined ? box.height / 2 : y - box.top;
    const unit = Math.min(Math.max(view.unit * factor, most / 40), most);
    view.x += px * (view.unit - unit); view.y += py * (view.unit - unit); view.unit = unit;
    draw();
  };
  const show = (mark, go) => {
    chosen = mark;
    said.textContent = mark ? mark.dataset.title || mark.dataset.label : "";
    if (mark && go) {
      const box = svg.getBoundingClientRect();
      view.unit = Math.min(view.unit, +svg.dataset.close || Math.max(width / box.width, height / box.height) / 4);
      view.x = mark.dataset.x - box.width * view.unit * .4; view.y = mark.dataset.y - box.height * view.unit / 2;
    }
    draw();
  };
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    let best = null, least = 18;
    for (const mark of marks) {
      const far = Math.hypot((mark.dataset.x - view.x) / view.unit - event.clientX + box.left, (mark.dataset.y - view.y) / view.unit - event.clientY + box.top);
      if (far < least) { least = far; best = mark; }
    }
    return best;
  };
  figure.querySelector(".in").onclick = () => zoom(1 / 1.6);
  figure.querySelector(".out").onclick = () => zoom(1.6);
  figure.querySelector(".whole").onclick = fit;
  figure.querySelector("input").oninput = (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    const found = wanted && (marks.find((m) => m.dataset.label.toLowerCase().startsWith(wanted)) || marks.find((m) => m.dataset.label.toLowerCase().includes(wanted)));
    show(found || null, true);
  };
  const fingers = new Map();
  svg.onpointerdown = (event) => { fingers.set(event.pointerId, event); };
  svg.onpointermove = (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) { const mark = nearest(event); if (mark !== chosen) show(mark, false); return; }
    if (fingers.size === 2) {
      const [other] = [...fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
      const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY) || 1;
      zoom(apart(before) / apart(event), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else {
      svg.setPointerCapture(event.pointerId);
      view.x -= (event.clientX - before.clientX) * view.unit; view.y -= (event.clientY - before.clientY) * view.unit;
      draw();
    }
    fingers.set(event.pointerId, event);
  };
  svg.onpointerup = svg.onpointercancel = (event) => {
    fingers.delete(event.pointerId);
    if (event.pointerType !== "mouse") show(nearest(event), false);
  };
  svg.ondblclick = (event) => zoom(1 / 2, event.clientX, event.clientY);
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;  // a wheel alone scrolls the page; with ctrl, or a pinch on a touchpad, it zooms
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 200), event.clientX, event.clientY);
  }, { passive: false });
  figure.classList.add("live");
  new ResizeObserver(() => (view ? zoom(1) : fit())).observe(svg);
  addEventListener("beforeprint", () => {
    svg.setAttribute("viewBox", whole);
    layer.innerHTML = names;
    for (const mark of marks) if (mark.dataset.r) mark.setAttribute("r", mark.dataset.r);
    for (const mark of fixed) mark.setAttribute("transform", `translate(${mark.dataset.x} ${mark.dataset.y})`);
  });
  addEventListener("afterprint", draw);
}
