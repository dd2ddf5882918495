// Elements. Values go in as text nodes, never as markup; the policy of the page forbids the latter too.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

// An element with attributes; children are elements or texts.
export function make(name, attributes = {}, ...children) {
  return finish(document.createElement(name), attributes, children);
}

export function draw(name, attributes = {}, ...children) {
  return finish(document.createElementNS(SVG, name), attributes, children);
}

function finish(element, attributes, children) {
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

// What is the same is left alone, so that a selection lives on.
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// Keeps one child for each item, by its key and in the order of the items: focus stays where it is.
export function fillList(parent, items, keyOf, create, fill) {
  const left = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let last = null;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = left.get(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    left.delete(key);
    const place = last ? last.nextElementSibling : parent.firstElementChild;
    if (place !== child) parent.insertBefore(child, place);
    fill(child, item);
    last = child;
  }
  left.forEach((child) => child.remove());
}

// Names with their values: [name, value, class?]
export function fillPairs(list, pairs) {
  const create = () => make("div", {}, make("dt"), make("dd"));
  fillList(list, pairs, ([name]) => name, create, (row, [name, value, kind]) => {
    row.className = kind ?? "";
    setText(row.firstElementChild, name);
    setText(row.lastElementChild, value);
  });
}
