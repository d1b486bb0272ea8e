// The one place for taste: shades, type, corners. What text and states are drawn with is in colors.css.
import { createTheme, type MantineColorsTuple } from '@mantine/core';

const ink: MantineColorsTuple = [
  '#eef3fb', '#d9e4f5', '#b3c8ea', '#8aabdf', '#678fd3', '#4f7dcb', '#3f6fc2', '#305fae', '#28539a', '#1c4480',
];
/** Cooler than Mantine's, and dark enough where text is drawn with it. */
const gray: MantineColorsTuple = [
  '#f7f8fa', '#eff1f4', '#e3e6eb', '#d4d9e0', '#bcc3cd', '#98a1ae', '#7b8593', '#5b6472', '#424a56', '#2a303a',
];
const dark: MantineColorsTuple = [
  '#d6dae1', '#b9c0ca', '#9aa3b0', '#6b7583', '#414a57', '#2f3742', '#232a33', '#181d24', '#12161c', '#0c0f13',
];

export const theme = createTheme({
  primaryColor: 'ink',
  primaryShade: { light: 8, dark: 3 },
  autoContrast: true,
  colors: { ink, gray, dark },
  defaultRadius: 'sm',
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.125rem' },
  headings: {
    fontWeight: '600',
    sizes: { h1: { fontSize: '1.25rem' }, h2: { fontSize: '1rem' }, h3: { fontSize: '0.875rem' } },
  },
  spacing: { xs: '0.375rem', sm: '0.625rem', md: '0.875rem', lg: '1.25rem', xl: '2rem' },
  cursorType: 'pointer',
  components: {
    Button: { defaultProps: { size: 'xs' } },
    Table: { defaultProps: { horizontalSpacing: 'md' } },
    TextInput: { defaultProps: { size: 'sm' } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 200, events: { hover: true, focus: true, touch: true } } },
    Modal: { defaultProps: { closeButtonProps: { 'aria-label': 'Close' } } },
  },
});
