"use strict";
// While the page is read in, only the first view shows; without a script all of them stay.
document.documentElement.classList.add("starting");

function tabs() {
  const list = document.querySelector(".tabs");
  const links = [...list.querySelectorAll("a")];
  const panels = [...document.querySelectorAll(".view")];
  const named = () => links.findIndex((link) => link.hash === location.hash);

  function show(chosen) {
    links.forEach((link, place) => {
      link.setAttribute("aria-selected", String(place === chosen));
      link.tabIndex = place === chosen ? 0 : -1;
      panels[place].hidden = place !== chosen;
    });
  }

  function choose(chosen) {
    show(chosen);
    links[chosen].focus();
    history.replaceState(null, "", links[chosen].hash);
  }

  list.setAttribute("role", "tablist");
  links.forEach((link, place) => {
    link.id = `tab-${place + 1}`;
    link.setAttribute("role", "tab");
    link.setAttribute("aria-controls", `panel-${place + 1}`);
    panels[place].setAttribute("role", "tabpanel");
    panels[place].tabIndex = 0;
    // Under its old name the browser would scroll to it, past the alerts.
    panels[place].id = `panel-${place + 1}`;
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      choose(place);
    });
  });
  list.addEventListener("keydown", (event) => {
    const now = links.indexOf(document.activeElement);
    const last = links.length - 1;
    const goal = {
      ArrowRight: now === last ? 0 : now + 1,
      ArrowLeft: now === 0 ? last : now - 1,
      Home: 0,
      End: last,
      " ": now,
    }[event.key];
    if (now < 0 || goal === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(goal);
  });
  window.addEventListener("hashchange", () => {
    if (named() >= 0) show(named());
  });
  show(Math.max(named(), 0));
  document.documentElement.classList.add("tabbed");
}

function age() {
  const time = document.querySelector("time");
  if (!time) return;
  const minutes = Math.floor((Date.now() - Date.parse(time.dateTime)) / 60000);
  const [count, unit] =
    minutes < 120 ? [minutes, "minute"]
    : minutes < 2880 ? [Math.floor(minutes / 60), "hour"]
    : [Math.floor(minutes / 1440), "day"];
  const words = `${count} ${unit}${count === 1 ? "" : "s"}`;
  document.querySelector(".age").textContent = minutes < 1 ? "" : `, ${words} ago`;
  // The hourly sync has run twice since.
  const old = document.querySelector(".old");
  old.hidden = minutes < 120;
  old.querySelector("b").textContent = words;
}

document.addEventListener("DOMContentLoaded", () => {
  try {
    if (document.querySelector(".tabs a")) tabs();
    age();
    setInterval(age, 30000);
  } finally {
    document.documentElement.classList.remove("starting");
  }
});
