import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** A terminal with one line at its bottom that changes; elsewhere (a pipe, a file) only the lasting lines. */
export class Screen {
  /** Whether the changing line is shown. */
  readonly live: boolean;
  readonly #colour: boolean;

  constructor(private readonly stream: NodeJS.WriteStream) {
    this.live = stream.isTTY === true;
    // https://no-color.org
    this.#colour = this.live && !process.env.NO_COLOR;
  }

  heading(title: string, about: string): void {
    this.line();
    this.line(this.style("bold", title));
    this.line(this.style("dim", about));
  }

  /** Writes a line that stays. */
  line(text = ""): void {
    this.stream.write(`${this.live ? CLEAR : ""}${text}\n`);
  }

  /** Replaces the changing line, until the next line is written. */
  status(text: string): void {
    if (this.live) this.stream.write(`${CLEAR}${text.slice(0, this.stream.columns - 1)}`);
  }

  style(style: Style, text: string): string {
    return this.#colour ? styleText(style, text) : text;
  }
}

/** Goes to the start of the line and clears it. */
const CLEAR = "\r\x1b[2K";
