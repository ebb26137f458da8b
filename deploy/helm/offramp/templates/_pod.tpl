{{/* What all pods have in common. Takes a list: root, component. */}}
{{- define "offramp.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "offramp.fullname" $root }}
automountServiceAccountToken: false
enableServiceLinks: false    # a service named offramp would add OFFRAMP_ variables
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "offramp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Volumes of a component: settings, secrets, /tmp and those of the user. */}}
{{- define "offramp.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap:
    name: {{ include "offramp.fullname" $root }}-{{ index . 1 }}
- name: tmp
  emptyDir:
    sizeLimit: {{ ternary $root.Values.worker.tmpSize "64Mi" (eq (index . 1) "worker") }}
{{- range $name, $secret := fromYaml (include "offramp.secrets" .) }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0440
{{- end }}
{{- with $root.Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a component has them. Whole folders: a Secret that changes is a file that changes. */}}
{{- define "offramp.mounts" -}}
{{- $root := index . 0 -}}
- name: config
  mountPath: /etc/offramp
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- range $name, $secret := fromYaml (include "offramp.secrets" .) }}
- name: secret-{{ $name }}
  mountPath: /run/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- with $root.Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The part of a worker that its check has too. */}}
{{- define "offramp.worker" -}}
{{- $settings := fromYaml (include "offramp.settings" (list . "worker")) -}}
image: {{ include "offramp.image" (list . .Values.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: OFFRAMP_INSTANCE
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: OFFRAMP_CONFIG
    value: /etc/offramp/offramp.yaml
  {{- /* Variables win over the file, and images set these. */}}
  - name: OFFRAMP_METRICS__PORT
    value: {{ $settings.metrics.port | quote }}
  - name: OFFRAMP_METRICS__HOST
    value: {{ $settings.metrics.host | quote }}
  {{- with dig "model" "path" "" $settings }}
  - name: OFFRAMP_MODEL__PATH
    value: {{ . | quote }}
  {{- end }}
  {{- /* torch and tokenizers would count the cores of the node. */}}
  - name: OMP_NUM_THREADS
    value: {{ include "offramp.threads" . | quote }}
  - name: RAYON_NUM_THREADS
    value: {{ include "offramp.threads" . | quote }}
  {{- with .Values.worker.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- $resources := deepCopy .Values.worker.resources }}
  {{- with .Values.worker.gpu }}
  {{- if .count }}
  {{- $resources = mergeOverwrite $resources (dict "limits" (dict .resource .count)) }}
  {{- end }}
  {{- end }}
  {{- with .Values.worker.resourceClaims }}
  {{- $claims := list }}
  {{- range . }}{{ $claims = append $claims (dict "name" .name) }}{{ end }}
  {{- $resources = set $resources "claims" $claims }}
  {{- end }}
  {{- toYaml $resources | nindent 2 }}
securityContext:
  {{- include "offramp.containerSecurity" . | nindent 2 }}
volumeMounts:
  {{- include "offramp.mounts" (list . "worker") | nindent 2 }}
  {{- if or .Values.model.claim .Values.model.fetch }}
  - name: models
    mountPath: /models
    readOnly: true
  {{- end }}
{{- end }}
