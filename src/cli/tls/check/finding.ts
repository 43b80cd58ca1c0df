// A finding of `sser tls check`.

/** `doubt`: it may or may not be as intended; that cannot be determined from here. `problem`: it must be fixed first. */
export type FindingLevel = 'good' | 'doubt' | 'problem'

export interface Finding {
  readonly level: FindingLevel
  /** What it is about, in a word or a name. */
  readonly subject: string
  /** Unless it is good, including what to do. */
  readonly words: string
}

export function good(subject: string, words: string): Finding {
  return { level: 'good', subject, words }
}

export function doubt(subject: string, words: string): Finding {
  return { level: 'doubt', subject, words }
}

export function problem(subject: string, words: string): Finding {
  return { level: 'problem', subject, words }
}
