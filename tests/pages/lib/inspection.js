// What is wrong with the page as it is drawn: a list of { kind, found, allowed }. `limits` are those of inspection.py.
(limits) => {
  const findings = [];
  const report = (kind, where, found, allowed) => findings.push({ kind, found: `${describe(where)}: ${found}`, allowed });

  function describe(element) {
    const name = element.getAttribute("class");
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    return `<${element.localName}${name ? ` class="${name}"` : ""}>${text ? ` "${text}"` : ""}`;
  }

  function ancestors(element) {
    const all = [];
    for (let one = element; one; one = one.parentElement) all.push(one);
    return all;
  }

  // The nearest one around an element that scrolls sideways by itself.
  const scroller = (element) =>
    ancestors(element.parentElement).find((one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowX));

  // [red, green, blue, alpha], 0 to 1.
  function parse(colour) {
    const parts = (colour.match(/[\d.]+/g) || []).map(Number);
    if (!colour.startsWith("rgb")) return [0, 0, 0, 0];
    return [parts[0] / 255, parts[1] / 255, parts[2] / 255, parts.length > 3 ? parts[3] : 1];
  }

  const over = (top, below) => [0, 1, 2].map((part) => top[part] * top[3] + below[part] * (1 - top[3])).concat(1);

  function background(element) {
    const layers = ancestors(element).map((one) => parse(getComputedStyle(one).backgroundColor)).reverse();
    return layers.reduce((below, top) => over(top, below), [1, 1, 1, 1]);
  }

  // WCAG 2.1, "relative luminance" and "contrast ratio".
  function luminance(colour) {
    const [red, green, blue] = colour.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function contrast(element, property) {
    const ground = background(element);
    const colour = parse(getComputedStyle(element)[property]);
    const opacity = ancestors(element).reduce((all, one) => all * Number(getComputedStyle(one).opacity), 1);
    const drawn = luminance(over([...colour.slice(0, 3), colour[3] * opacity], ground));
    const below = luminance(ground);
    return (Math.max(drawn, below) + 0.05) / (Math.min(drawn, below) + 0.05);
  }

  // Texts as they are seen: the part of them that their scroller shows, line by line.
  function texts() {
    // What lies below an open dialog can't be read, nor need it.
    const walker = document.createTreeWalker(document.querySelector("dialog:modal") ?? document.body, NodeFilter.SHOW_TEXT);
    const all = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const element = node.parentElement;
      if (!node.data.trim() || !element.checkVisibility()) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const boxes = element.ownerSVGElement ? [element.getBoundingClientRect()] : [...range.getClientRects()];
      const around = scroller(element)?.getBoundingClientRect();
      const seen = boxes.map((box) => ({
        left: Math.max(box.left, around?.left ?? box.left), right: Math.min(box.right, around?.right ?? box.right),
        top: box.top, bottom: box.bottom,
      }));
      all.push({ element, node, boxes: seen.filter((box) => box.right > box.left) });
    }
    return all;
  }

  const all = texts();
  const width = document.documentElement.scrollWidth;
  if (width > limits.width) report("width", document.documentElement, `${width} px wide`, `${limits.width} px`);

  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (!box.width || element.ownerSVGElement || scroller(element)) continue;
    const { overflowY, display } = getComputedStyle(element);
    if (overflowY === "visible" && display !== "inline" && element.scrollHeight > element.clientHeight + 2) {
      report("cut", element, `${element.scrollHeight} px high in a box of ${element.clientHeight}`, "a box as high as its content");
    }
    if (box.right > limits.width + 0.5 || box.left < -0.5) {
      report("width", element, `from ${box.left.toFixed(1)} to ${box.right.toFixed(1)} px`, `0 to ${limits.width} px`);
    }
  }

  for (const { element, boxes } of all) {
    const matrix = element.ownerSVGElement && element.getScreenCTM();
    const size = parseFloat(getComputedStyle(element).fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
    if (size < limits.text - 0.01) report("size", element, `text of ${size.toFixed(1)} px`, `${limits.text} px or more`);
    const ratio = contrast(element, matrix ? "fill" : "color");
    if (ratio < limits.contrast) {
      report("contrast", element, `contrast ${ratio.toFixed(2)}:1`, `${limits.contrast}:1 or more`);
    }
    // Text that leaves the drawing or the box around it is cut off, or lies on something else.
    const frames = [element.ownerSVGElement || element.closest("figure, .bars > span, td, th, p, pre, li")];
    for (const frame of frames.filter(Boolean)) {
      const outer = frame.getBoundingClientRect();
      const scrolls = ["auto", "scroll"].includes(getComputedStyle(frame).overflowX);
      if (!scrolls && boxes.some((box) => box.left < outer.left - 1 || box.right > outer.right + 1)) {
        report("cut", element, `text leaves ${describe(frame).slice(0, 30)}`, "text within the box around it");
      }
    }
  }

  all.forEach((one, place) => {
    for (const other of all.slice(place + 1)) {
      const meet = (a, b) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
      if (one.boxes.some((a) => other.boxes.some((b) => meet(a, b)))) {
        report("overlap", one.element, `lies on "${other.node.data.trim().slice(0, 40)}"`, "no text on another");
      }
    }
  });

  for (const line of document.querySelectorAll("svg .line")) {
    const ratio = contrast(line, "stroke");
    if (ratio < limits.line) report("contrast", line, `line of ${ratio.toFixed(2)}:1`, `${limits.line}:1 or more`);
  }

  // What the browser may look up or connect to without a request that it tells of.
  for (const element of document.querySelectorAll("link, base, meta[http-equiv]")) {
    // A page that is served has its style and its icon from its own listener.
    if (element.localName === "link" && location.origin !== "null" && new URL(element.href).origin === location.origin) continue;
    report("request", element, element.outerHTML.slice(0, 100), "no link, no base, no refresh");
  }

  const ground = luminance(background(document.body));
  if (limits.scheme === "dark" ? ground > 0.2 : ground < 0.8) {
    report("scheme", document.body, `background of luminance ${ground.toFixed(2)}`, `one that is ${limits.scheme}`);
  }
  return findings;
}
