// Entry of the bundle: TensorBoard imports it as a module inside the plugin's frame and calls render().
import { render as mount } from "preact";
import { Host } from "./state/host";
import { Model } from "./state/model";
import css from "./styles.css";
import { App } from "./ui/App";
import { runColourRules } from "./ui/colours";
import { Failure } from "./ui/Failure";
import { adopt } from "./ui/sheets";

/** Builds the page. Never throws and never leaves the page blank: errors are shown as text. */
export async function render(): Promise<void> {
  const root = document.createElement("div");
  root.id = "root";
  document.body.append(root);
  const fail = (error: unknown): void => mount(<Failure error={error} />, root);
  try {
    document.documentElement.lang = "en";
    document.title = "LRP";
    adopt(css);
    adopt(`:root { ${runColourRules("light")} } :root[data-theme="dark"] { ${runColourRules("dark")} }`);
    const data = document.getElementById("lrp-data")?.textContent;
    if (data) await (await import("./data/embedded")).embed(data);
    const host = new Host();
    const showTheme = (theme: string): void => document.documentElement.setAttribute("data-theme", theme);
    showTheme(host.readTheme());
    host.onTheme(showTheme);
    host.adoptFonts();
    const model = new Model(host);
    mount(<App model={model} />, root);
    model.start();
  } catch (error) {
    fail(error);
    console.error(error);
  }
}
