// Mantine's links and buttons as the router's: typed addresses, opened in place.
import { Anchor, Button, type ButtonProps, NavLink, Text } from '@mantine/core';
import { createLink } from '@tanstack/react-router';
import type { AnchorHTMLAttributes, ReactNode, Ref } from 'react';

type ButtonAnchorProps = ButtonProps & Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof ButtonProps> & { ref?: Ref<HTMLAnchorElement> };

/** Looks like a button, and is a link: it opens in another tab where somebody wants that. */
function ButtonAnchor(props: ButtonAnchorProps) {
  return <Button component="a" {...props} />;
}

export const TextLink = createLink(Anchor<'a'>);
export const ButtonLink = createLink(ButtonAnchor);
export const NavigationLink = createLink(NavLink<'a'>);

/** Links that somebody wrote: http and https alone become links, all else is shown as text. */
export function isSafe(href: string): boolean {
  try {
    return ['http:', 'https:'].includes(new URL(href).protocol);
  } catch {
    return false;
  }
}

export function SafeLink({ href, children }: { href: string | null; children: ReactNode }) {
  if (href === null || href === '') return null;
  if (!isSafe(href)) {
    return <Text size="sm" c="dimmed" component="span" className="break">{href}</Text>;
  }
  return <Anchor href={href} target="_blank" rel="noreferrer" size="sm">{children}</Anchor>;
}
