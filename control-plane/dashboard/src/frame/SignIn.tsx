// Signing in: by the code of a link or by name and password; and choosing a password.
import { Button, Code, Group, Paper, Stack, Text, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { api, asProblem, data, useChange } from '../api';
import { ChangeDialog, Field, ProblemNote, Secret } from '../parts';
import { useSession } from '../session/session';
import { codeIn } from './code';

interface SignInProps {
  /** Of the link that was opened. */
  code: string | null;
  /** Over a page whose session has ended. */
  isAgain?: boolean;
}

export function SignIn({ code, isAgain = false }: SignInProps) {
  const { signedIn } = useSession();
  const [user, setUser] = useState('');
  const [password, setPassword] = useState('');
  const [link, setLink] = useState('');
  const enter = useMutation({
    mutationFn: (code: string | null) => (code === null ? data(api.POST('/v1/session', { body: { user, password } })) : data(api.POST('/v1/session/link', { body: { code } }))),
    onSuccess: (answer) => signedIn(answer.has_password),
  });
  const followed = useRef(false);
  const { mutate } = enter;
  useEffect(() => {
    if (code === null || followed.current) return;
    // A code works once, and effects run twice in development.
    followed.current = true;
    mutate(code);
  }, [code, mutate]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    mutate(link.trim() === '' ? null : codeIn(link));
  };
  const form = (
    <form onSubmit={submit}>
      <Stack gap="sm">
        {enter.error !== null && <ProblemNote problem={asProblem(enter.error)} />}
        <Field label="Name" autoComplete="username" value={user} onChange={setUser} data-autofocus />
        <Secret label="Password" autoComplete="current-password" value={password} onChange={setPassword} />
        <Field label="Or a sign-in link" description="The link itself, or what stands behind #login= in it." autoComplete="off" value={link} onChange={setLink} />
        <Group justify="flex-end">
          <Button type="submit" size="sm" loading={enter.isPending} disabled={link.trim() === '' && (user === '' || password === '')}>Sign in</Button>
        </Group>
        <Text size="xs" c="dimmed">
          No way in? Who has the data folder of the control plane makes a link: <Code>flagfuse login-link --data DIR --user NAME</Code>
        </Text>
      </Stack>
    </form>
  );
  if (isAgain) return form;
  return (
    <Stack align="center" justify="center" mih="100vh" p="md" component="main">
      <Paper className="surface" p="xl" w="100%" maw={420}>
        <Stack gap="md">
          <Title order={1}>Flagfuse</Title>
          {code !== null && enter.isPending ? <Text size="sm">Signing you in …</Text> : form}
        </Stack>
      </Paper>
    </Stack>
  );
}

/** `isFirst`: somebody who has none yet may as well leave it. */
export function Password({ onClose, onDone, isFirst = false }: { onClose: () => void; onDone?: () => void; isFirst?: boolean }) {
  const [current, setCurrent] = useState('');
  const [next, setNext] = useState('');
  const change = useChange(() => data(api.PUT('/v1/password', { body: { new: next, ...(current === '' ? {} : { current }) } })));
  return (
    <ChangeDialog title={isFirst ? 'Choose a password' : 'Another password'} verb="Keep it" change={change} isReady={[...next].length >= 12} onClose={onClose} onDone={onDone}>
      <Text size="sm" c="dimmed">
        {isFirst ? 'With one you need no link the next time. You can also do this later, in the settings.' : 'All other sessions of yours end.'}
      </Text>
      {!isFirst && <Secret label="Password until now" description="Not needed in a session that a link opened." autoComplete="current-password" value={current} onChange={setCurrent} />}
      <Secret label="New password" description="12 characters or more." autoComplete="new-password" value={next} onChange={setNext} data-autofocus />
    </ChangeDialog>
  );
}
