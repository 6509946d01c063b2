// What the page needs of the TensorBoard page around its iframe. There is no public interface for any of it but the
// message channel, so everything reads the parent document and falls back to this window where that is not allowed.
import { OWN_HASH, ownsHash, readHash, writeHash } from "./hash";
import { MessageChannelClient } from "./messages";

export type Theme = "light" | "dark";

/** TensorBoard's page around the frame that it makes for a plugin; this window where the page stands alone. */
function parentWindow(): Window {
  if (!/[?&]name=lrp_monitor(&|$)/.test(window.location.search)) return window;
  try {
    void window.parent.document.body; // throws where the parent is of another origin
    return window.parent;
  } catch {
    return window;
  }
}

export class Host {
  private readonly outer = parentWindow();
  private readonly dark = window.matchMedia("(prefers-color-scheme: dark)");
  private readonly messages = this.outer === window ? null : new MessageChannelClient(this.outer);

  /** Whether the page stands alone: no tab of TensorBoard is around it. */
  get alone(): boolean {
    return this.outer === window;
  }

  readTheme(): Theme {
    if (this.alone) return this.dark.matches ? "dark" : "light";
    return this.outer.document.body.classList.contains("dark-mode") ? "dark" : "light";
  }

  onTheme(changed: (theme: Theme) => void): void {
    if (this.alone) this.dark.addEventListener("change", () => changed(this.readTheme()));
    const observer = new MutationObserver(() => changed(this.readTheme()));
    observer.observe(this.outer.document.body, { attributes: true, attributeFilter: ["class"] });
  }

  readParameters(): Map<string, string> {
    return readHash(this.outer.location.hash).own;
  }

  /** Puts the view into the address bar without a history entry; only while our tab is the one it names. */
  writeParameters(values: ReadonlyMap<string, string>): void {
    const { hash, pathname, search } = this.outer.location;
    if (!this.alone && !ownsHash(hash)) return;
    const next = writeHash(hash === "" ? `#${OWN_HASH}` : hash, values);
    if (next === hash) return;
    try {
      this.outer.history.replaceState(this.outer.history.state, "", pathname + search + next);
    } catch {
      return; // a document without an address of its own, such as a frame in a notebook
    }
  }

  /** The address of the page around, by which this view opens elsewhere. */
  get address(): string {
    return this.outer.location.href;
  }

  /** Has keys go to the page once its tab is in front: the first of them would else move TensorBoard's own tabs. */
  takeKeys(): void {
    const { activeElement } = this.outer.document;
    if (!this.alone && this.isVisible() && (activeElement === null || activeElement.closest("[role=tab], body") !== null)) window.focus();
  }

  onParameters(changed: () => void): void {
    this.outer.addEventListener("hashchange", changed);
  }

  /** TensorBoard's own reload button and timer. */
  onReload(reloaded: () => void): void {
    this.messages?.listen("experimental.DataReloaded", reloaded);
  }

  /** False while another tab of TensorBoard or of the browser is in front: a hidden plugin frame has no height. */
  isVisible(): boolean {
    return !document.hidden && window.innerHeight > 0;
  }

  onVisible(appeared: () => void): void {
    const check = (): void => {
      if (this.isVisible()) appeared();
    };
    document.addEventListener("visibilitychange", check);
    window.addEventListener("resize", check);
  }

  /** TensorBoard's page declares Roboto; the frame takes over those declarations so that both look alike. */
  adoptFonts(): void {
    if (this.outer === window) return;
    for (const sheet of this.outer.document.styleSheets) {
      let rules: CSSRuleList;
      try {
        rules = sheet.cssRules;
      } catch {
        continue; // a sheet of another origin
      }
      for (const rule of rules) {
        if (rule instanceof (this.outer as Window & typeof globalThis).CSSFontFaceRule) this.adoptFace(rule);
      }
    }
  }

  private adoptFace(rule: CSSFontFaceRule): void {
    const family = rule.style.getPropertyValue("font-family").replace(/["']/g, "");
    const source = /url\((["']?)([^"')]+)\1\)/.exec(rule.style.getPropertyValue("src"))?.[2];
    if (family !== "Roboto" || source === undefined) return;
    // TensorBoard writes these paths from the root of the server, where they are not if it runs under a path prefix.
    const url = new URL(source.replace(/^\//, ""), this.outer.document.baseURI);
    if (url.origin !== window.location.origin) return;
    document.fonts.add(
      new FontFace(family, `url("${url.href}")`, {
        weight: rule.style.getPropertyValue("font-weight") || "normal",
        style: rule.style.getPropertyValue("font-style") || "normal",
        unicodeRange: rule.style.getPropertyValue("unicode-range") || "U+0-10FFFF",
        display: "swap",
      }),
    );
  }
}
