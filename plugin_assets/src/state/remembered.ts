// What the page keeps in this browser: how it is laid out, nothing of the data. Not every frame may keep anything.
const PREFIX = "lrp_monitor ";

export function recall(key: string): string | null {
  try {
    return window.localStorage.getItem(PREFIX + key);
  } catch {
    return null; // a frame of another origin, or a browser that keeps nothing
  }
}

export function remember(key: string, value: string | null): void {
  try {
    if (value === null) window.localStorage.removeItem(PREFIX + key);
    else window.localStorage.setItem(PREFIX + key, value);
  } catch {
    return; // as above: it lasts as long as the page
  }
}
