// Splits arriving pieces into lines. Promises that no more than one line is buffered, and that an overlong line is detected
// as soon as it exceeds the limit. Knows nothing of the lines' content.

const NEWLINE = 10

export class LineSplitter {
  readonly #lineBytesMax: number
  /** The beginning of a line whose end has not arrived yet. */
  #pieces: Buffer[] = []
  #bytes = 0

  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax
  }

  /**
   * Calls `take` with each line that ends in this piece, without its line end: a view that the caller may keep as long as it
   * leaves `piece` alone. False: the line after the last one taken is too long, and `push` must not be called again.
   */
  push(piece: Buffer, take: (line: Buffer) => void): boolean {
    let begin = 0
    for (let end = piece.indexOf(NEWLINE); end !== -1; end = piece.indexOf(NEWLINE, begin)) {
      if (this.#bytes + end - begin > this.#lineBytesMax) return false
      take(this.#joined(piece.subarray(begin, end)))
      begin = end + 1
    }
    if (begin === piece.length) return true
    this.#pieces.push(begin === 0 ? piece : piece.subarray(begin))
    this.#bytes += piece.length - begin
    return this.#bytes <= this.#lineBytesMax
  }

  /** The last line if it is unterminated; undefined where there is none. */
  rest(): Buffer | undefined {
    return this.#bytes === 0 ? undefined : this.#joined(Buffer.alloc(0))
  }

  #joined(last: Buffer): Buffer {
    if (this.#bytes === 0) return last
    const line = Buffer.concat([...this.#pieces, last], this.#bytes + last.length)
    this.#pieces = []
    this.#bytes = 0
    return line
  }
}
