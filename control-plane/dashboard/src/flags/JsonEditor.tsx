// A document as text, coloured. CodeMirror is read with this file, which is when somebody opens one.
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { json } from '@codemirror/lang-json';
import { syntaxHighlighting } from '@codemirror/language';
import { EditorState, Transaction } from '@codemirror/state';
import { EditorView, keymap } from '@codemirror/view';
import { classHighlighter } from '@lezer/highlight';
import { useEffect, useEffectEvent, useRef } from 'react';
import { styleNonce } from '../api';

interface JsonEditorProps { label: string; text: string; isDisabled: boolean; onType: (text: string) => void }

/** What is typed over a selection, put in by the editor: a browser that does it keeps how it looked in an inline style, which the policy refuses. */
function typeOver(event: InputEvent, view: EditorView): boolean {
  const chosen = getSelection();
  if (view.state.readOnly || event.inputType !== 'insertText' || event.data === null || event.isComposing || chosen === null || chosen.isCollapsed) return false;
  const range = chosen.getRangeAt(0);
  const [from, to] = [view.posAtDOM(range.startContainer, range.startOffset), view.posAtDOM(range.endContainer, range.endOffset)];
  view.dispatch({ changes: { from, to, insert: event.data }, selection: { anchor: from + event.data.length }, userEvent: 'input.type', scrollIntoView: true });
  return true;
}

/** Tab leaves it, as it leaves any field. */
export function JsonEditor({ label, text, isDisabled, onType }: JsonEditorProps) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const type = useEffectEvent((typed: string) => { if (typed !== text) onType(typed); });
  useEffect(() => {
    if (box.current === null) return undefined;
    const attributes = { tabindex: '0', 'aria-label': label, 'aria-readonly': String(isDisabled), spellcheck: 'false' };
    view.current = new EditorView({
      parent: box.current,
      extensions: [
        EditorView.domEventHandlers({ beforeinput: typeOver }), EditorView.cspNonce.of(styleNonce()), history(), keymap.of([...defaultKeymap, ...historyKeymap]), json(), syntaxHighlighting(classHighlighter), EditorView.lineWrapping,
        EditorState.readOnly.of(isDisabled), EditorView.contentAttributes.of(attributes), EditorView.updateListener.of((update) => { if (update.docChanged) type(update.state.doc.toString()); }),
      ],
    });
    return () => view.current?.destroy();
  }, [label, isDisabled]);
  // What came from elsewhere is not undone here.
  useEffect(() => {
    const { state } = view.current ?? {};
    if (state !== undefined && state.doc.toString() !== text) view.current?.dispatch({ changes: { from: 0, to: state.doc.length, insert: text }, annotations: Transaction.addToHistory.of(false) });
  }, [text, label, isDisabled]);
  return <div ref={box} className="code-editor" />;
}
