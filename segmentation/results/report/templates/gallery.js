"use strict";
// The gallery. Cards of all images are there from the start, so that the browser can search them and knows how far the
// page scrolls; their pictures come when a card gets near the screen, and go when it is far away.
(() => {
  const source = document.getElementById("data");
  if (!source) return;
  const { views, images } = JSON.parse(source.textContent);
  const gallery = document.getElementById("gallery");
  const toolbar = document.getElementById("toolbar");
  const SVG = "http://www.w3.org/2000/svg";
  let view = new FormData(toolbar).get("view");

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  const drawn = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const title = (name) => views.find((candidate) => candidate.name === name).title;

  function layer({ layer, fill }, image) {
    const { width, height, paths } = image.picture[layer];
    const stretch = `scale(${image.picture.width / width} ${image.picture.height / height})`;
    return drawn("g", { class: fill ? "fills" : "lines", transform: stretch },
      ...paths.map((d, colour) => drawn("path", { d, class: `c${colour}` })));
  }

  function show(card) {
    const { image, frame } = card;
    const shown = card.view ?? view;
    frame.setAttribute("aria-label", `${image.file}, ${image.facts}. Shown: ${title(shown)}`);
    if (!card.near) return;
    const chosen = views.find(({ name }) => name === shown);
    const { width, height } = image.picture;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    svg.append(chosen.fill ? drawn("rect", { width, height }) : drawn("image", {
      href: `data:image/webp;base64,${image.picture.image}`, width, height, preserveAspectRatio: "none",
    }));
    if (chosen.layer) svg.append(layer(chosen, image));
    frame.replaceChildren(svg);
  }

  const cards = images.map((image, place) => {
    const frame = element("button", { type: "button", className: "frame" });
    const item = element("li", {}, frame,
      element("p", { className: "name", textContent: image.file, title: image.path }),
      element("p", { className: "facts", textContent: image.facts }));
    if (image.links.length) {
      item.append(element("p", { className: "files" }, ...image.links.map(
        ([text, href]) => element("a", { href, textContent: text, ariaLabel: `${text} of ${image.file}` }))));
    }
    const card = { image, place, item, frame, near: false, view: null };
    frame.addEventListener("click", () => {
      const current = views.findIndex(({ name }) => name === (card.view ?? view));
      card.view = views[(current + 1) % views.length].name;
      show(card);
    });
    item.card = card;
    show(card);
    return card;
  });
  const place = () => gallery.append(...cards.map(({ item }) => item));

  const observer = new IntersectionObserver((entries) => {
    for (const { target: { card }, isIntersecting } of entries) {
      card.near = isIntersecting;
      if (isIntersecting) show(card);
      else card.frame.replaceChildren();
    }
  }, { rootMargin: "600px 0px" });
  for (const { item } of cards) observer.observe(item);
  addEventListener("beforeprint", () => {
    for (const card of cards) {
      card.near = true;
      show(card);
    }
  });

  toolbar.addEventListener("submit", (event) => event.preventDefault());
  for (const input of toolbar.elements.view) {
    input.addEventListener("change", () => {
      view = input.value;
      for (const card of cards) {
        card.view = null;
        show(card);
      }
    });
  }

  const order = document.getElementById("order");
  if (!order) {
    place();
    return;
  }
  let reversed = false;

  function sort() {
    const option = order.selectedOptions[0];
    const sign = (option.dataset.descending === "yes") !== reversed ? -1 : 1;
    // The images come in the order of their names. Those without such a figure stand last either way.
    const compare = (one, other) => {
      const byName = one.place - other.place;
      if (option.value === "file") return sign * byName;
      const [a, b] = [one.image[option.value], other.image[option.value]];
      if (a === null || b === null) return (a === null) - (b === null) || byName;
      return sign * (a - b) || byName;
    };
    cards.sort(compare);
    place();
  }

  order.addEventListener("change", () => {
    reversed = false;
    sort();
  });
  document.getElementById("reverse").addEventListener("click", () => {
    reversed = !reversed;
    sort();
  });
  sort();
})();
