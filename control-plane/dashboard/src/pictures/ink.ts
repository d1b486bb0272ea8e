// Colours of the pictures, as variables of the page's theme: they change with it between light and dark.
export const INK = {
  text: 'var(--mantine-color-text)',
  faint: 'var(--mantine-color-dimmed)',
  line: 'var(--ff-line)',
  paper: 'var(--ff-surface)',
  ground: 'var(--mantine-color-gray-light)',
  harm: 'var(--ff-bad)',
  good: 'var(--ff-good)',
  wait: 'var(--ff-warn)',
  exposed: 'var(--ff-exposed)',
  control: 'var(--ff-control)',
} as const;

export const FONT = { fontFamily: 'inherit', fontVariantNumeric: 'tabular-nums' } as const;
