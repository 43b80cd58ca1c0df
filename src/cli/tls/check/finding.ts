// What `sser tls check` finds out, in words.

/** `doubt`: it may be as wanted, or may not; nobody can tell from here. `problem`: it has to be mended first. */
export type FindingLevel = 'good' | 'doubt' | 'problem'

export interface Finding {
  readonly level: FindingLevel
  /** What it is about, in a word or a name. */
  readonly subject: string
  /** With what to do, where it is not good. */
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
