// What a reader prefers: light or dark, and the font of model texts. Kept by the browser, where it keeps anything.

const THEMES = ["auto", "light", "dark"];
const THEME_SIGNS = { auto: "◐", light: "☀", dark: "☾" };

function recalled(name) {
  try {
    return localStorage.getItem(`tts-view-${name}`);
  } catch {
    return null; // of a file, some browsers keep nothing
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`tts-view-${name}`, value);
  } catch {
    // it holds until the page is closed
  }
}

export function preferences() {
  const theme = recalled("theme");
  setTheme(THEMES.includes(theme) ? theme : "auto");
  setMono(recalled("mono") === "true");
  document.getElementById("theme").addEventListener("click", nextTheme);
  document.getElementById("mono").addEventListener("click", switchMono);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  button.textContent = THEME_SIGNS[theme];
  button.title = `Colours: ${theme} (t)`;
  button.setAttribute("aria-label", button.title);
  keep("theme", theme);
}

export function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
}

function setMono(mono) {
  document.documentElement.dataset.mono = String(mono);
  document.getElementById("mono").setAttribute("aria-pressed", String(mono));
  keep("mono", String(mono));
}

export function switchMono() {
  setMono(document.documentElement.dataset.mono !== "true");
}
