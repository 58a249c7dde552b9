{{/* The name of everything here. */}}
{{- define "sidle.name" -}}
{{- .Values.nameOverride | default .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the workload's Pods. */}}
{{- define "sidle.selector" -}}
app.kubernetes.io/name: {{ include "sidle.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sidle.labels" -}}
{{ include "sidle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Labels of the Pod: what selects it, whatever values say; `app`, as most selectors of Istio's resources ask for it. */}}
{{- define "sidle.podLabels" -}}
{{- $own := dict "app" (include "sidle.name" .) -}}
{{- toYaml (merge (include "sidle.selector" . | fromYaml) .Values.podLabels $own) -}}
{{- end -}}

{{- define "sidle.account" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "sidle.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "sidle.configMap" -}}
{{ .Values.existingConfigMap | default (include "sidle.name" .) }}
{{- end -}}

{{/* The proxy's container. Beside an application it stands among the initContainers with restartPolicy Always: it is ready
before the application starts, and ends after it. */}}
{{- define "sidle.container" -}}
name: sidle
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --config, /etc/sidle]
{{- if .Values.containers }}
restartPolicy: Always
{{- end }}
env:
  - name: POD_NAMESPACE
    valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
  - name: SIDLE_WORKLOAD
    value: {{ include "sidle.name" . | quote }}
  {{- $labels := list }}
  {{- range $key, $value := include "sidle.podLabels" . | fromYaml }}
  {{- $labels = append $labels (printf "%s=%s" $key $value) }}
  {{- end }}
  - name: SIDLE_LABELS
    value: {{ join "," $labels | quote }}
  {{- with .Values.workers }}
  - name: SIDLE_WORKERS
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - { name: inbound, containerPort: 15006 }
  - { name: metrics, containerPort: 15090 }
  - { name: health, containerPort: 15021 }
# The application waits for it, as long as it takes to get an identity.
startupProbe:
  httpGet: { path: /healthz/ready, port: health }
  periodSeconds: 1
  failureThreshold: 120
readinessProbe:
  httpGet: { path: /healthz/ready, port: health }
  periodSeconds: 5
  failureThreshold: 2
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- if include "sidle.tproxy" . }}
  # To take its client's address: a right that only root can be given.
  runAsUser: 0
  runAsGroup: 1337
  runAsNonRoot: false
  {{- else }}
  runAsUser: 1337
  runAsGroup: 1337
  runAsNonRoot: true
  {{- end }}
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
    {{- if include "sidle.tproxy" . }}
    add: [NET_ADMIN]
    {{- end }}
  seccompProfile: { type: RuntimeDefault }
volumeMounts:
  - { name: sidle-config, mountPath: /etc/sidle, readOnly: true }
  {{- if .Values.identitySecret }}
  - { name: sidle-identity, mountPath: /var/run/sidle/identity, readOnly: true }
  {{- end }}
{{- end -}}

{{/* Not empty if the proxy takes its clients' addresses. */}}
{{- define "sidle.tproxy" -}}
{{- if and .Values.containers .Values.intercept.enabled (eq .Values.intercept.mode "TPROXY") }}true{{ end -}}
{{- end -}}

{{/* Writes the kernel's rules of the Pod, and ends. */}}
{{- define "sidle.intercept" -}}
{{- with .Values.intercept -}}
name: sidle-intercept
image: "{{ .image.repository }}:{{ .image.tag | default $.Chart.AppVersion }}"
imagePullPolicy: {{ .image.pullPolicy }}
args:
  - intercept
  - apply
  - --mode={{ .mode }}
  - {{ printf "--inbound-ports=%s" .inboundPorts | quote }}
  {{- with .excludeInboundPorts }}
  - {{ printf "--exclude-inbound-ports=%s" . | quote }}
  {{- end }}
  - {{ printf "--outbound-ranges=%s" .outboundRanges | quote }}
  {{- with .excludeOutboundRanges }}
  - {{ printf "--exclude-outbound-ranges=%s" . | quote }}
  {{- end }}
  {{- with .outboundPorts }}
  - {{ printf "--outbound-ports=%s" . | quote }}
  {{- end }}
  {{- with .excludeOutboundPorts }}
  - {{ printf "--exclude-outbound-ports=%s" . | quote }}
  {{- end }}
  {{- if .dns }}
  - --redirect-dns
  {{- end }}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  runAsNonRoot: false
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL], add: [NET_ADMIN] }
  seccompProfile: { type: RuntimeDefault }
{{- end -}}
{{- end -}}

{{- define "sidle.volumes" -}}
- name: sidle-config
  configMap: { name: {{ include "sidle.configMap" . }} }
{{- with .Values.identitySecret }}
- name: sidle-identity
  secret: { secretName: {{ . | quote }}, defaultMode: 288 } # 0440
{{- end }}
{{- end -}}
