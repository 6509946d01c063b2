// Components that are drawn again only when one of their properties is another one.
import { Component, type ComponentClass, type FunctionComponent, type JSX } from "preact";

export function memo<Props extends object>(Draw: FunctionComponent<Props>): ComponentClass<Props> {
  return class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Readonly<Props>): boolean {
      const now = this.props as Readonly<Props>;
      const keys = new Set([...Object.keys(now), ...Object.keys(next)]) as Set<keyof Props>;
      return [...keys].some((key) => now[key] !== next[key]);
    }

    override render(): JSX.Element {
      return <Draw {...(this.props as Props)} />;
    }
  };
}
